package shipped_test

import (
	"net/netip"
	"testing"

	"bittern/internal/event"
)

// TestShippedRulesLeaveOrdinaryConnectionsAlone runs all rules over the
// connections that servers and people make all day.
func TestShippedRulesLeaveOrdinaryConnectionsAlone(t *testing.T) {
	all := parseAll(t)
	for _, tc := range []struct {
		executable, commandLine, peer, transport string
	}{
		{"/usr/bin/curl", "curl -fsSL https://example.org/key.asc", "198.51.100.7:443", "tcp"},
		{"/usr/bin/curl", "curl -fsSL https://example.org/key.asc", "198.51.100.53:53", "udp"},
		{"/usr/bin/curl", "curl -s http://localhost:8080/health", "127.0.0.1:8080", "tcp"},
		{"/usr/bin/curl", "curl --unix-socket /run/docker.sock http://x/info", "10.0.0.1:3128", "tcp"},
		{"/usr/lib/apt/methods/http", "/usr/lib/apt/methods/http", "[2001:db8::80]:80", "tcp"},
		{"/usr/bin/git", "git fetch https://example.org/x.git", "198.51.100.7:443", "tcp"},
		{"/usr/bin/ssh", "ssh web-3", "198.51.100.9:22", "tcp"},
		{"/usr/bin/dockerd", "dockerd -H fd://", "198.51.100.7:443", "tcp"},
		{"/usr/bin/docker", "docker -H tcp://10.0.0.4:2375 ps", "10.0.0.4:2375", "tcp"},
		{"/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/cloud-init init", "169.254.169.254:80", "tcp"},
		{"/usr/bin/google_guest_agent", "/usr/bin/google_guest_agent", "169.254.169.254:80", "tcp"},
		{"/usr/bin/bash", "bash wait-for-it.sh db:5432", "172.18.0.3:5432", "tcp"},
		{"/usr/sbin/sshd", "sshd: alice", "[::1]:6010", "tcp"},
		{"/usr/lib/systemd/systemd-timesyncd", "/usr/lib/systemd/systemd-timesyncd", "198.51.100.123:123", "udp"},
		{"/usr/sbin/nginx", "nginx: worker process", "10.0.0.9:5555", "tcp"},
		{"/usr/lib/firefox-esr/firefox-esr", "firefox-esr", "[2001:db8::443]:443", "udp"},
		{"/tmp/go-build1/b001/x.test", "/tmp/go-build1/b001/x.test -test.v", "198.51.100.7:443", "tcp"},
		{"/tmp/.mount_Editor/editor", "editor", "198.51.100.7:443", "tcp"},
		{"/usr/bin/java", "java -jar app.jar", "10.0.0.5:3333", "tcp"},
	} {
		peer := netip.MustParseAddrPort(tc.peer)
		ev := event.Event{Class: event.NetworkConnect, Network: event.Network{Destination: peer.Addr(), Port: peer.Port(), Transport: tc.transport}}
		for field, value := range map[event.Field]string{event.ProcessExecutable: tc.executable, event.ProcessCommandLine: tc.commandLine} {
			if err := ev.Set(field, value); err != nil {
				t.Fatal(err)
			}
		}
		for _, rule := range all {
			if rule.Match(&ev) {
				t.Errorf("%s (%s) matches: %s connects to %s/%s", rule.ID, rule.Name, tc.executable, tc.peer, tc.transport)
			}
		}
	}
}
