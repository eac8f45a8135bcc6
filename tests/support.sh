# Shared by quickstart and tests/run: what a fresh Debian 12 needs. Sourced by bash; expects $root.

packages="meson ninja-build pkg-config gcc clang libclang-rt-14-dev libc6-dev libevent-dev libpq-dev libinih-dev
	libssl-dev libsystemd-dev libcmocka-dev libmariadb-dev postgresql-15 postgresql-client-15 python3-venv"
python_packages="asyncpg psycopg[binary] sqlalchemy greenlet pytest pytest-xdist"

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s\n' "$*" >&2
	exit 1
}

# install_packages NAME...: only what is missing, so that a second run needs no network.
install_packages() {
	local missing=() name
	for name in "$@"; do
		dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' ||
			missing+=("$name")
	done
	[ ${#missing[@]} -eq 0 ] && return
	[ "$(id -u)" = 0 ] || die "missing packages: ${missing[*]} (run as root, or install them)"
	say "installing ${missing[*]}"
	apt-get update -qq
	# The throwaway servers are our own: the package need not start one.
	mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/weir.conf
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		"${missing[@]}" >/dev/null </dev/null
}

# install_python: a virtual environment beside the build, for drivers.
install_python() {
	venv=$root/.cache/venv
	if ! "$venv/bin/python" -c 'import asyncpg, psycopg, sqlalchemy, greenlet, pytest, xdist' 2>/dev/null; then
		say "installing Python drivers"
		rm -rf "$venv"
		/usr/bin/python3 -m venv "$venv"
		# shellcheck disable=SC2086
		"$venv/bin/pip" install -q --disable-pip-version-check $python_packages
	fi
}

# build DIRECTORY [meson options]
build() {
	local dir=$1
	shift
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" "$root" "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
	fi
	meson compile -C "$dir" >"$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
}

# free_port: one that nobody listens on at this moment.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
