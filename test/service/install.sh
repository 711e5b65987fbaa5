#!/bin/sh
# Installs the services that tests start (see service.go): those named, or all. Packages need root and apt-get; without them it says
# what to install, and the tests that need it are skipped. The jars of Kafka and Pulsar come from Maven Central, nats-server from the
# Go module proxy. It never fails a build.
set -u
cd "$(dirname "$0")" || exit 0

# package NAME gives the Debian package of a service, program NAME succeeds if it is there.
package() {
	case $1 in
	postgres) echo postgresql ;;
	mariadb) echo mariadb-server ;;
	prometheus) echo prometheus ;;
	kafka | pulsar) echo "openjdk-17-jre-headless" ;;
	rabbitmq) echo rabbitmq-server ;;
	mosquitto) echo mosquitto ;;
	redis) echo redis-server ;;
	nats) ;;
	*) echo "install.sh: no service is called $1" >&2; exit 2 ;;
	esac
}
program() {
	case $1 in
	postgres) ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null ;;
	mariadb) [ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null ;;
	prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null ;;
	kafka | pulsar) ls /usr/lib/jvm/*-17-*/bin/java /usr/lib/jvm/*-2?-*/bin/java 2>/dev/null | grep -q java || command -v java >/dev/null ;;
	rabbitmq) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null ;;
	mosquitto) [ -x /usr/sbin/mosquitto ] || command -v mosquitto >/dev/null ;;
	redis) command -v redis-server >/dev/null ;;
	nats) true ;; # golang says it
	esac
}

# jars NAME VERSION gets the jars that NAME.sums lists from Maven Central, into .tools, and checks their sums.
jars() {
	to=../../.tools/$1-$2
	[ -e "$to/complete" ] && return
	command -v curl >/dev/null && command -v sha256sum >/dev/null || { echo "$1 needs curl and sha256sum; the tests that need it are skipped"; return; }
	echo "getting $1 $2"
	new=$to.$$
	mkdir -p "$new"
	sed -E "s|^[^ ]+ +(.*/)?([^/]+)\$|url = \"${MAVEN_CENTRAL:-https://repo.maven.apache.org/maven2}/\1\2\"\noutput = \"$new/\2\"|" "$1.sums" |
		curl -sSfL --no-progress-meter --retry 3 --parallel --parallel-max 6 -K - >/dev/null &&
		sed -E 's|  .*/|  |' "$1.sums" | (cd "$new" && sha256sum --quiet -c -) &&
		touch "$new/complete" && { mv -T "$new" "$to" 2>/dev/null || true; }
	rm -rf "$new"
	[ -e "$to/complete" ] || echo "$1 $2 could not be got from Maven Central; the tests that need it are skipped"
}

# distribution NAME VERSION PATH SUM gets an archive from Maven Central, checks its sum, and puts the jars in it into .tools.
distribution() {
	to=../../.tools/$1-$2
	[ -e "$to/complete" ] && return
	command -v curl >/dev/null && command -v sha256sum >/dev/null || { echo "$1 needs curl and sha256sum; the tests that need it are skipped"; return; }
	echo "getting $1 $2 (it is large)"
	new=$to.$$
	mkdir -p "$new"
	curl -sSfL --no-progress-meter --retry 3 -o "$new/archive" "${MAVEN_CENTRAL:-https://repo.maven.apache.org/maven2}/$3" &&
		echo "$4  $new/archive" | sha256sum --quiet -c - &&
		tar -xzf "$new/archive" -C "$new" --strip-components=2 --wildcards '*/lib/*.jar' &&
		rm "$new/archive" && touch "$new/complete" && { mv -T "$new" "$to" 2>/dev/null || true; }
	rm -rf "$new"
	[ -e "$to/complete" ] || echo "$1 $2 could not be got from Maven Central; the tests that need it are skipped"
}

# golang NAME MODULE VERSION builds a server that is written in Go, into .tools/bin.
golang() {
	to=../../.tools/bin/$1-$3
	[ -e "$to" ] && return
	echo "building $1 $3"
	new=$(mktemp -d)
	GOBIN=$new go install -trimpath "$2@$3" && mkdir -p ../../.tools/bin && mv "$new/$1" "$to" || echo "$1 $3 could not be built; the tests that need it are skipped"
	rm -rf "$new"
}

missing=
for name in ${*:-postgres mariadb prometheus kafka rabbitmq mosquitto redis nats pulsar}; do
	package "$name" >/dev/null || exit 2
	[ "$name" = kafka ] && jars kafka 4.2.2
	[ "$name" = pulsar ] && distribution pulsar 4.0.8 org/apache/pulsar/pulsar-server-distribution/4.0.8/pulsar-server-distribution-4.0.8-bin.tar.gz 35c7d064c9e0928edbf2e708989faba0379662f98aa84ce0d4190c59efb6765e
	[ "$name" = nats ] && golang nats-server github.com/nats-io/nats-server/v2 v2.15.2
	program "$name" || missing="$missing $(package "$name")"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "not installed:$missing. The tests that need it are skipped; as root: apt-get install$missing"
	exit 0
fi
echo "installing$missing"
# Only the programs are wanted: no cluster and no daemon of their own.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
	mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT; }
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/tmp/penstock-install.log 2>&1 ||
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >>/tmp/penstock-install.log 2>&1 ||
	echo "could not be installed:$missing (see /tmp/penstock-install.log); the tests that need it are skipped"
exit 0
