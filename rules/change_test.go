package shipped_test

import (
	"net/netip"
	"strings"
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// silent fails if a rule matches what a program does.
func silent(t *testing.T, all []*rules.Rule, ev event.Event, executable, what string) {
	t.Helper()
	if err := ev.Set(event.ProcessExecutable, executable); err != nil {
		t.Fatal(err)
	}
	ev.Process.ExecutableMemfd = strings.HasPrefix(executable, "memfd:")
	for _, rule := range all {
		if rule.Match(&ev) {
			t.Errorf("%s (%s) matches: %s: %s", rule.ID, rule.Name, executable, what)
		}
	}
}

// TestShippedRulesLeaveOrdinaryChangesAlone runs all rules over what package managers,
// editors, services and container runtimes do to files.
func TestShippedRulesLeaveOrdinaryChangesAlone(t *testing.T) {
	all := parseAll(t)
	for _, tc := range []struct {
		executable, operation, path string
		other                       string // new path, or target of a symbolic link
		mode                        uint32 // 0 if it does not matter
	}{
		{"/usr/bin/dpkg", "rename", "/etc/cron.d/sysstat.dpkg-new", "/etc/cron.d/sysstat", 0},
		{"/usr/bin/dpkg", "rename", "/usr/lib/systemd/system/ssh.service.dpkg-new", "/usr/lib/systemd/system/ssh.service", 0},
		{"/usr/bin/dpkg", "rename", "/etc/sudoers.dpkg-new", "/etc/sudoers", 0},
		{"/usr/bin/dpkg", "link", "/usr/bin/sudo", "/usr/bin/sudo.dpkg-tmp", 0},
		{"/usr/bin/dpkg", "chmod", "/usr/bin/sudo.dpkg-new", "", 0o4755},
		{"/usr/bin/dpkg", "create", "/usr/bin/perl.dpkg-new", "", 0o666},
		{"/usr/bin/rpm", "rename", "/usr/bin/su;65a1b2c3", "/usr/bin/su", 0},
		{"/usr/bin/apt", "rename", "/var/lib/apt/lists/partial/x", "/var/lib/apt/lists/x", 0},
		{"/usr/bin/apt-get", "unlink", "/var/cache/apt/archives/x.deb", "", 0},
		{"/usr/bin/systemd-tmpfiles", "mkdir", "/tmp/.X11-unix", "", 0o1777},
		{"/usr/bin/systemd-tmpfiles", "chmod", "/var/log/wtmp", "", 0o664},
		{"/usr/bin/systemd-tmpfiles", "unlink", "/tmp/old", "", 0},
		{"/usr/bin/systemd-sysusers", "rename", "/etc/.#passwdx1", "/etc/passwd", 0},
		{"/usr/sbin/useradd", "rename", "/etc/shadow+", "/etc/shadow", 0},
		{"/usr/sbin/vipw", "rename", "/etc/passwd.edit", "/etc/passwd", 0},
		{"/usr/sbin/logrotate", "rename", "/var/log/auth.log", "/var/log/auth.log.1", 0},
		{"/usr/sbin/logrotate", "create", "/var/log/auth.log", "", 0o640},
		{"/usr/sbin/logrotate", "truncate", "/var/log/syslog", "", 0},
		{"/usr/bin/gzip", "unlink", "/var/log/syslog.1", "", 0},
		{"/usr/lib/systemd/systemd-journald", "unlink", "/var/log/journal/0/system@1.journal", "", 0},
		{"/usr/bin/journalctl", "unlink", "/var/log/journal/0/system@1.journal", "", 0},
		{"/usr/sbin/rsyslogd", "create", "/var/log/auth.log", "", 0o640},
		{"/usr/bin/vim.basic", "rename", "/etc/sudoers.d/app", "/etc/sudoers.d/app~", 0},
		{"/usr/bin/vim.basic", "rename", "/etc/crontab", "/etc/crontab~", 0},
		{"/usr/bin/vim.basic", "chmod", "/etc/crontab", "", 0o644},
		{"/usr/bin/sed", "rename", "/root/.ssh/sedAb12", "/root/.ssh/authorized_keys", 0},
		{"/usr/bin/sed", "rename", "/etc/systemd/system/sedAb12", "/etc/systemd/system/app.service", 0},
		{"/usr/bin/crontab", "rename", "/var/spool/cron/crontabs/tmp.Ab12", "/var/spool/cron/crontabs/alice", 0},
		{"/usr/bin/systemctl", "symlink", "/etc/systemd/system/multi-user.target.wants/app.service", "/etc/systemd/system/app.service", 0},
		{"/usr/bin/systemctl", "symlink", "/etc/systemd/system/sleep.target", "/dev/null", 0},
		{"/usr/bin/git", "create", "/home/alice/src/x/.git/index.lock", "", 0o666},
		{"/usr/bin/git", "rename", "/home/alice/src/x/.git/index.lock", "/home/alice/src/x/.git/index", 0},
		{"/usr/bin/git", "mkdir", "/tmp/x/.git", "", 0o777},
		{"/usr/bin/bash", "rename", "/home/alice/.bash_history-4711.tmp", "/home/alice/.bash_history", 0},
		{"/usr/bin/bash", "truncate", "/home/alice/.bash_history", "", 0},
		{"/usr/bin/zsh", "unlink", "/home/alice/.zsh_history.LOCK", "", 0},
		{"/usr/bin/mv", "rename", "/tmp/release.tar.gz", "/srv/release.tar.gz", 0},
		{"/usr/bin/chmod", "chmod", "/tmp/run.sh", "", 0o777},
		{"/usr/bin/install", "chmod", "/usr/local/bin/tool", "", 0o755},
		{"/usr/bin/ld.bfd", "create", "/home/alice/src/a.out", "", 0o777},
		{"/usr/bin/dockerd", "chmod", "/etc/nginx", "", 0o777},
		{"/usr/bin/podman", "chmod", "/home/alice/.local/share/containers/storage/overlay/1/diff/usr/bin/su", "", 0o4755},
		{"/usr/bin/containerd", "create", "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/usr/bin/su", "", 0o4755},
		{"/usr/bin/runc", "symlink", "/dev/fd", "/proc/self/fd", 0},
		{"/usr/bin/bwrap", "symlink", "/newroot/etc/resolv.conf", "/run/host/etc/resolv.conf", 0},
		{"/usr/sbin/php-fpm8.2", "create", "/var/www/html/wp-content/uploads/2026/11/a.jpg", "", 0o666},
		{"/usr/sbin/php-fpm8.2", "rename", "/tmp/phpAb12", "/var/www/html/wp-content/uploads/2026/11/a.jpg", 0},
		{"/usr/sbin/php-fpm8.2", "create", "/var/www/html/wp-content/plugins/seo/index.php", "", 0o666},
		{"/usr/bin/redis-server", "rename", "/var/lib/redis/temp-1.rdb", "/var/lib/redis/dump.rdb", 0},
		{"/usr/sbin/ldconfig", "rename", "/etc/ld.so.cache~", "/etc/ld.so.cache", 0},
		{"/usr/sbin/sshd", "unlink", "/tmp/ssh-Ab12/agent.4711", "", 0},
		{"/tmp/go-build1/b001/x.test", "rename", "/tmp/TestX1/001/a", "/tmp/TestX1/001/b", 0},
	} {
		ev := event.Blank(event.FileChange)
		ev.Operation, ev.File.Path, ev.File.Mode, ev.File.ModeKnown = tc.operation, tc.path, tc.mode, tc.mode != 0
		if tc.operation == "symlink" {
			ev.File.TargetPath = tc.other
		} else {
			ev.File.NewPath = tc.other
		}
		silent(t, all, ev, tc.executable, tc.operation+" "+tc.path)
	}
}

// TestShippedRulesLeaveOrdinaryListenersAlone does the same for servers.
func TestShippedRulesLeaveOrdinaryListenersAlone(t *testing.T) {
	all := parseAll(t)
	for _, tc := range []struct{ executable, operation, source, peer string }{
		{"/usr/sbin/sshd", "listen", "0.0.0.0:22", ""},
		{"/usr/sbin/sshd", "accept", "192.0.2.1:22", "198.51.100.7:51234"},
		{"/usr/sbin/sshd", "listen", "127.0.0.1:6010", ""},
		{"/usr/sbin/nginx", "bind", "0.0.0.0:443", ""},
		{"/usr/sbin/nginx", "listen", "[::]:443", ""},
		{"/usr/sbin/nginx", "accept", "192.0.2.1:443", "198.51.100.7:51234"},
		{"/usr/lib/systemd/systemd", "listen", "[::]:9090", ""},
		{"/usr/lib/systemd/systemd-resolved", "bind", "127.0.0.53:53", ""},
		{"/usr/bin/dockerd", "listen", "0.0.0.0:2376", ""},
		{"/usr/bin/docker-proxy", "listen", "0.0.0.0:4444", ""},
		{"/usr/bin/python3.11", "listen", "0.0.0.0:8000", ""},
		{"/usr/bin/java", "listen", "[::]:4444", ""},
		{"/usr/bin/dnsmasq", "bind", "0.0.0.0:53", ""},
		{"/usr/bin/curl", "bind", "0.0.0.0:0", ""},
		{"/tmp/go-build1/b001/x.test", "listen", "[::]:39121", ""},
		{"/tmp/unit/server.test", "listen", "127.0.0.1:39121", ""},
	} {
		ev := event.Blank(event.NetworkListen)
		source := netip.MustParseAddrPort(tc.source)
		ev.Operation, ev.Network = tc.operation, event.Network{Source: source.Addr(), SourcePort: source.Port(), Transport: "tcp"}
		if tc.peer != "" {
			peer := netip.MustParseAddrPort(tc.peer)
			ev.Network.Destination, ev.Network.Port = peer.Addr(), peer.Port()
		}
		silent(t, all, ev, tc.executable, tc.operation+" "+tc.source)
	}
}
