# SPDX-License-Identifier: Apache-2.0
# Turns each line into one of a C string.
s/[\\"]/\\&/g
s/.*/"&\\n"/
