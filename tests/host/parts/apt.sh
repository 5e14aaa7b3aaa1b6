# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # $work is the caller's
# To be sourced: Debian packages of any suite, from the mirror that apt uses already, with an apt state of its own in
# $work, so that the machine's sources and lists stay as they are.

# mirror SUITE: its URI. MIRROR and SECURITY_MIRROR say otherwise.
mirror() {
	local suite=bookworm uri=${MIRROR:-}
	case $1 in *-security) suite=bookworm-security uri=${SECURITY_MIRROR:-} ;; esac
	# shellcheck disable=SC2016 # it is apt that expands these
	[ -n "$uri" ] || uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
		awk -v suite=$suite '$2 == suite { sub("/$", "", $1); print $1; exit }')
	[ -n "$uri" ] || { echo "apt knows no mirror of Debian's $suite; set MIRROR and SECURITY_MIRROR" >&2; return 1; }
	echo "$uri"
}

# open_suite SUITE: the one that the functions below use
open_suite() {
	local uri
	uri=$(mirror "$1")
	mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $1 main" > "$work/apt/sources.list"
	apt_options=(-qq -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o Dir::State::status=/dev/null
		-o APT::Sandbox::User=root)
	apt-get "${apt_options[@]}" update
}

# dependency PACKAGE PREFIX: the first package that PACKAGE depends on and that begins so
dependency() {
	apt-cache "${apt_options[@]}" depends "$1" |
		awk -v prefix="$2" '$1 == "Depends:" && index($2, prefix) == 1 { print $2; exit }'
}

has_package() {
	apt-cache "${apt_options[@]}" show "$1" > "$work/apt/show" 2>&1
}

# unpack DIRECTORY PACKAGE...: their files, without their dependencies and scripts
unpack() {
	local directory=$1 deb
	shift
	mkdir -p "$work/apt/debs"
	(cd "$work/apt/debs" && apt-get "${apt_options[@]}" download "$@")
	for deb in "$work/apt/debs"/*.deb; do
		dpkg-deb -x "$deb" "$directory"
	done
	rm -r "$work/apt/debs"
}
