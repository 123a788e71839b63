package shipped_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"bittern/internal/attack"
	"bittern/internal/event"
	"bittern/internal/rules"
	shipped "bittern/rules"
)

// catalogue lets the rule parser ask the ATT&CK catalogue.
type catalogue struct{ *attack.Catalogue }

func (c catalogue) Check(id string) (string, rules.AttackStatus) {
	replacement, status := c.Catalogue.Check(id)
	switch status {
	case attack.Active:
		return replacement, rules.AttackKnown
	case attack.Revoked:
		return replacement, rules.AttackRevoked
	case attack.Deprecated:
		return replacement, rules.AttackDeprecated
	}
	return replacement, rules.AttackUnknown
}

func loadCatalogue(t *testing.T) catalogue {
	t.Helper()
	c, err := attack.Load()
	if err != nil {
		t.Fatal(err)
	}
	return catalogue{c}
}

// parseAll parses every shipped file. Any problem, be it a warning, fails the test.
func parseAll(t *testing.T) []*rules.Rule {
	t.Helper()
	paths, err := fs.Glob(shipped.FS, "*.yml")
	if err != nil {
		t.Fatal(err)
	}
	opts := rules.Options{Attack: loadCatalogue(t)}
	var all []*rules.Rule
	for _, path := range paths {
		data, err := fs.ReadFile(shipped.FS, path)
		if err != nil {
			t.Fatal(err)
		}
		file := rules.Parse(path, data, opts)
		for _, p := range file.Problems {
			t.Error(p)
		}
		for _, doc := range file.Documents {
			for _, p := range doc.Problems {
				t.Error(p)
			}
			if doc.Rule != nil {
				all = append(all, doc.Rule)
			}
		}
	}
	return all
}

func TestShippedRulesPassTheirTests(t *testing.T) {
	all := parseAll(t)
	if len(all) < 15 {
		t.Errorf("there are %d rules, want at least 15", len(all))
	}
	for _, rule := range all {
		for _, p := range rule.RunTests() {
			t.Error(p)
		}
	}
}

func TestShippedRulesAreComplete(t *testing.T) {
	known := loadCatalogue(t)
	seen := make(map[string]bool)
	for _, rule := range parseAll(t) {
		if seen[rule.ID] || !strings.HasPrefix(rule.ID, "BT") {
			t.Errorf("%s: id %s is taken or does not begin with BT", rule.Pos, rule.ID)
		}
		seen[rule.ID] = true
		if rule.Description == "" || rule.Metadata.Severity == "" || rule.Metadata.Author == "" || rule.Metadata.Date == "" {
			t.Errorf("%s: %s lacks a description, severity, author or date", rule.Pos, rule.ID)
		}
		if len(rule.Name) > 44 {
			t.Errorf("%s: %s: the name is longer than its column in text output", rule.Pos, rule.ID)
		}
		match, noMatch := 0, 0
		for _, test := range rule.Tests {
			if test.Match {
				match++
			} else {
				noMatch++
			}
		}
		if match < 2 || noMatch < 2 {
			t.Errorf("%s: %s has %d tests that match and %d that don't, want 2 of each", rule.Pos, rule.ID, match, noMatch)
		}
		checkTags(t, known, rule)
	}
}

// checkTags checks that each technique belongs to the tactic that it is given
// with, which the parser does not.
func checkTags(t *testing.T, known catalogue, rule *rules.Rule) {
	t.Helper()
	if len(rule.Emits) == 0 {
		t.Errorf("%s: %s emits nothing", rule.Pos, rule.ID)
	}
	for _, e := range rule.Emits {
		technique, _ := known.Technique(e.Technique)
		if !technique.Linux || !slices.Contains(technique.Tactics, e.Tactic) {
			t.Errorf("%s: %s: %s is not a Linux technique of %s but of %v", rule.Pos, rule.ID, e.Technique, e.Tactic, technique.Tactics)
		}
		if e.SubTechnique == "" {
			continue
		}
		if sub, _ := known.Technique(e.SubTechnique); sub.Parent != e.Technique || !sub.Linux {
			t.Errorf("%s: %s: %s is not a Linux sub-technique of %s", rule.Pos, rule.ID, e.SubTechnique, e.Technique)
		}
	}
}

// TestShippedRulesAreNarrowedByTheKernel keeps a rule that would send every
// process of the host to user space from being shipped.
func TestShippedRulesAreNarrowedByTheKernel(t *testing.T) {
	for _, rule := range parseAll(t) {
		for _, plan := range rule.Plans() {
			if !plan.Narrowed() {
				t.Errorf("%s: %s is not narrowed by the kernel: %v", rule.Pos, rule.ID, plan.Notes)
			}
		}
	}
}

// TestShippedRulesLeaveFrequentEventsCheap keeps the kernel from searching through the
// text of each path and command line of the hundreds of thousands of files that a
// host may open or change in a second, and of its connections: whole values, starts and
// ends take a few lookups.
func TestShippedRulesLeaveFrequentEventsCheap(t *testing.T) {
	least := map[event.Class]int{event.FileOpen: 6, event.NetworkConnect: 4, event.FileChange: 6, event.NetworkListen: 3}
	plans := make(map[event.Class]int)
	for _, rule := range parseAll(t) {
		for _, plan := range rule.Plans() {
			if least[plan.Class] == 0 {
				continue
			}
			plans[plan.Class]++
			for _, clause := range plan.Clauses {
				for _, key := range slices.Concat(append(clause.Groups, clause.Not)...) {
					if key.Kind == rules.Gram {
						t.Errorf("%s: %s looks for %q anywhere in %s of every %s", rule.Pos, rule.ID, key.Text, key.Field, plan.Class)
					}
				}
			}
		}
	}
	for class, want := range least {
		if plans[class] < want {
			t.Errorf("%d rules are about %s, want at least %d", plans[class], class, want)
		}
	}
}

// TestShippedRulesLeaveOrdinaryWorkAlone runs all rules over what
// administration, package installation and CI execute all day.
func TestShippedRulesLeaveOrdinaryWorkAlone(t *testing.T) {
	all := parseAll(t)
	for _, tc := range []struct{ executable, parent, commandLine string }{
		{"/usr/bin/ls", "/usr/bin/bash", "ls --color=auto -la /tmp"},
		{"/usr/bin/cp", "/usr/bin/bash", "cp /bin/ls /tmp/.hidden"},
		{"/usr/bin/git", "/usr/bin/make", "git fetch https://example.org/x.git"},
		{"/usr/bin/curl", "/usr/bin/bash", "curl -fsSL https://example.org/key.asc -o /tmp/key.asc"},
		{"/usr/bin/dash", "/usr/bin/apt-get", "/bin/sh -c test -x /usr/lib/needrestart/apt-pinvoke && /usr/lib/needrestart/apt-pinvoke || true"},
		{"/usr/bin/dpkg", "/usr/bin/apt-get", "/usr/bin/dpkg --status-fd 27 --configure --pending"},
		{"/usr/bin/dash", "/usr/bin/dpkg", "/bin/sh /var/lib/dpkg/info/openssh-server.postinst configure 1:9.2"},
		{"/usr/bin/chmod", "/usr/bin/dash", "chmod 0755 /usr/local/bin/tool"},
		{"/usr/bin/systemctl", "/usr/bin/bash", "systemctl daemon-reload"},
		{"/usr/bin/kmod", "/usr/lib/systemd/systemd-udevd", "/sbin/modprobe -q -- net-pf-16-proto-9"},
		{"/usr/bin/rm", "/usr/bin/bash", "rm -rf build /tmp/work"},
		{"/tmp/go-build1/b001/x.test", "/usr/local/go/bin/go", "/tmp/go-build1/b001/x.test -test.v"},
		{"/usr/bin/python3.11", "/usr/bin/bash", "python3 -m http.server --bind 127.0.0.1"},
		{"/usr/bin/journalctl", "/usr/bin/bash", "journalctl --vacuum-time=2weeks"},
		{"/usr/bin/ssh-keygen", "/usr/bin/bash", "ssh-keygen -t ed25519 -f /home/alice/.ssh/id_ed25519"},
		{"/usr/bin/id", "/usr/bin/bash", "id -u"},
		{"/usr/bin/crontab", "/usr/bin/bash", "crontab -e"},
		{"/usr/sbin/logrotate", "/usr/lib/systemd/systemd", "/usr/sbin/logrotate /etc/logrotate.conf"},
		{"/usr/bin/gzip", "/usr/sbin/logrotate", "/bin/gzip /var/log/syslog.1"},
		{"/usr/sbin/chroot", "/usr/bin/mmdebstrap", "chroot /mnt/target dpkg --configure -a"},
	} {
		ev := event.Event{Class: event.ProcessExec}
		for field, value := range map[event.Field]string{
			event.ProcessExecutable: tc.executable, event.ProcessParentExecutable: tc.parent, event.ProcessCommandLine: tc.commandLine,
		} {
			if err := ev.Set(field, value); err != nil {
				t.Fatal(err)
			}
		}
		for _, rule := range all {
			if rule.Match(&ev) {
				t.Errorf("%s (%s) matches: %s", rule.ID, rule.Name, tc.commandLine)
			}
		}
	}
}

// TestShippedRulesLeaveOrdinaryFilesAlone does the same for files.
func TestShippedRulesLeaveOrdinaryFilesAlone(t *testing.T) {
	all := parseAll(t)
	const read, write, create = 1, 2, 4
	for _, tc := range []struct {
		executable, path string
		how              int
	}{
		{"/usr/bin/ls", "/etc/ld.so.cache", read},
		{"/usr/bin/id", "/etc/passwd", read},
		{"/usr/bin/ls", "/etc/ld.so.preload", read},
		{"/usr/sbin/sshd", "/etc/shadow", read},
		{"/usr/sbin/unix_chkpwd", "/etc/shadow", read},
		{"/usr/bin/passwd", "/etc/nshadow", write | create},
		{"/usr/sbin/useradd", "/etc/shadow-", read | write | create},
		{"/usr/bin/dpkg", "/etc/cron.d/sysstat.dpkg-new", write | create},
		{"/usr/bin/dpkg", "/usr/lib/x86_64-linux-gnu/security/pam_unix.so.dpkg-new", write | create},
		{"/usr/bin/vim.basic", "/etc/systemd/system/app.service", write | create},
		{"/usr/bin/crontab", "/var/spool/cron/crontabs/tmp.2Fj1x", write | create},
		{"/usr/sbin/cron", "/var/spool/cron/crontabs/alice", read},
		{"/usr/bin/ssh", "/home/alice/.ssh/id_ed25519", read},
		{"/usr/bin/ssh-keygen", "/home/alice/.ssh/id_ed25519", write | create},
		{"/usr/bin/dash", "/home/alice/.ssh/authorized_keys", write | create},
		{"/usr/local/bin/kubectl", "/home/alice/.kube/config", read},
		{"/usr/bin/docker", "/home/alice/.docker/config.json", read},
		{"/usr/lib/firefox-esr/firefox-esr", "/home/alice/.mozilla/firefox/x.default-esr/key4.db", read | write},
		{"/usr/bin/gdb", "/proc/4711/mem", read | write},
		{"/usr/bin/ps", "/proc/4711/stat", read},
		{"/usr/sbin/sysctl", "/proc/sys/kernel/core_pattern", write},
		{"/usr/bin/curl", "/tmp/key.asc", write | create},
		{"/usr/bin/redis-server", "/var/lib/redis/temp-99.rdb", write | create},
		{"/usr/lib/postgresql/15/bin/postgres", "/var/lib/postgresql/15/main/base/1/1259", read | write},
		{"/tmp/go-build1/b001/x.test", "/tmp/TestX1/001/id_rsa", write | create},
		{"/usr/sbin/visudo", "/etc/sudoers.tmp", read | write | create},
	} {
		ev := event.Event{Class: event.FileOpen, File: event.File{
			Path: tc.path, Read: tc.how&read != 0, Write: tc.how&write != 0, Create: tc.how&create != 0,
		}}
		if err := ev.Set(event.ProcessExecutable, tc.executable); err != nil {
			t.Fatal(err)
		}
		for _, rule := range all {
			if rule.Match(&ev) {
				t.Errorf("%s (%s) matches: %s opens %s", rule.ID, rule.Name, tc.executable, tc.path)
			}
		}
	}
}
