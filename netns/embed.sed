# SPDX-License-Identifier: Apache-2.0
# Turns a file into lines of a C string; comments of the file's own stay behind.
s/[ \t]*#.*//
/^[ \t]*$/d
s/[\\"]/\\&/g
s/.*/"&\\n"/
