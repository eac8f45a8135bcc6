# Shared by quickstart and tests/run: what a fresh Debian 12 needs. Sourced by bash; expects $root.

packages="meson ninja-build pkg-config gcc clang libclang-rt-14-dev libc6-dev libevent-dev libpq-dev libinih-dev
	libssl-dev libsystemd-dev libcmocka-dev postgresql-15 postgresql-client-15 libmariadb3 libmariadb-dev mariadb-server
	mariadb-client python3-venv python3-dev"
python_packages="asyncpg psycopg[binary] asyncmy aiomysql PyMySQL mysql-connector-python mysqlclient cryptography
	sqlalchemy greenlet pytest pytest-xdist"
python_modules="asyncpg psycopg asyncmy aiomysql pymysql mysql.connector MySQLdb cryptography sqlalchemy greenlet pytest xdist"

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
	without_services apt_install "${missing[@]}"
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

# without_services COMMAND...: runs it while packages may not start services. MariaDB's would start one at once.
without_services() {
	local policy=/usr/sbin/policy-rc.d
	if [ -e $policy ]; then
		"$@"
		return
	fi
	(
		# However it ends: a policy that stays would keep every service of this machine from being started.
		trap 'rm -f $policy' EXIT
		trap 'exit 130' INT TERM
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
		"$@"
	)
}

# install_python: a virtual environment beside the build, for drivers.
install_python() {
	venv=$root/.cache/venv
	if ! "$venv/bin/python" -c "import ${python_modules// /, }" 2>/dev/null; then
		say "installing Python drivers"
		if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
			rm -rf "$venv"
			/usr/bin/python3 -m venv "$venv"
		fi
		# shellcheck disable=SC2086
		"$venv/bin/pip" install -q --disable-pip-version-check $python_packages
	fi
}

# install_mysql9: Oracle's MySQL, which Debian 12 does not have, from Debian's development branch in a folder of its
# own, to be run with chroot. Made once. Where that cannot be done, the tests against it count as skipped, unless
# WEIR_REQUIRE_MYSQL9 is set.
install_mysql9() {
	export WEIR_MYSQL9=$root/.cache/mysql9
	# To run it takes root, too.
	[ "$(id -u)" = 0 ] && [ -x "$WEIR_MYSQL9/usr/sbin/mysqld" ] && return
	mkdir -p "$root/.cache"
	WEIR_MIRROR=$(debian_mirror)
	export WEIR_MIRROR=${WEIR_MIRROR:-http://deb.debian.org/debian}
	say "installing MySQL 9"
	if [ "$(id -u)" = 0 ] && flock "$root/.cache/mysql9.lock" bash -c "$(declare -f make_mysql9 say); make_mysql9" \
		>"$root/.cache/mysql9.log" 2>&1 </dev/null; then
		return
	fi
	tail -20 "$root/.cache/mysql9.log" 2>/dev/null
	[ -z "${WEIR_REQUIRE_MYSQL9:-}" ] || die "MySQL 9 could not be installed, and WEIR_REQUIRE_MYSQL9 is set"
	say "*** MySQL 9 could not be installed: THE TESTS AGAINST IT ARE SKIPPED ***"
	WEIR_MYSQL9=
}

# debian_mirror: where this machine gets Debian from, as far as that can be read.
debian_mirror() {
	sed -nE 's!^(deb|URIs:) +(\[[^]]*\] +)?(https?://[^ ]+/debian)/?( .*)?$!\3!p' \
		/etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true
}

# make_mysql9: in a folder that gets its name only when all is there, so that an interrupted try leaves nothing behind.
make_mysql9() {
	[ -x "$WEIR_MYSQL9/usr/sbin/mysqld" ] && return
	local new=$WEIR_MYSQL9.new
	umount -l "$new/proc" "$new/sys" 2>/dev/null
	rm -rf --one-file-system "$new" "$WEIR_MYSQL9"
	debootstrap --variant=minbase --include=mysql-server sid "$new" "$WEIR_MIRROR" &&
		chroot "$new" /usr/sbin/mysqld --version || return 1
	umount -l "$new/proc" "$new/sys" 2>/dev/null
	rm -rf "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/mysql/*
	mv "$new" "$WEIR_MYSQL9"
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

# free_port [WANTED]: one that nobody listens on at this moment: WANTED, if that is so.
free_port() {
	python3 - "${1:-0}" <<-'PY'
		import socket, sys
		for port in int(sys.argv[1]), 0:
		    with socket.socket() as s:
		        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		        try:
		            s.bind(("127.0.0.1", port))
		            s.listen()
		        except OSError:
		            continue
		        print(s.getsockname()[1])
		        break
	PY
}
