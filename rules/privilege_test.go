package shipped_test

import (
	"strings"
	"testing"

	"bittern/internal/event"
)

// inContainer is the id of the container of some of the cases.
var inContainer = strings.Repeat("0123456789abcdef", 4)

// TestShippedRulesLeaveOrdinaryPrivilegesAlone runs all rules over what sudo, services,
// debuggers and container runtimes do.
func TestShippedRulesLeaveOrdinaryPrivilegesAlone(t *testing.T) {
	all := parseAll(t)
	const nobody = event.NoID
	for _, tc := range []struct {
		executable, operation string
		before                event.User
		now                   event.Privilege
		path, container       string
	}{
		{"/usr/bin/sudo", "setuid", event.User{ID: 1000}, event.Privilege{UID: 0, EUID: 0, GID: nobody}, "", ""},
		{"/usr/bin/su", "setuid", event.User{}, event.Privilege{UID: 1000, EUID: 1000, GID: nobody}, "", ""},
		{"/usr/bin/su", "setuid", event.User{ID: 1000}, event.Privilege{UID: 0, EUID: 0, GID: nobody}, "", ""},
		{"/usr/bin/newgrp", "setuid", event.User{ID: 1000}, event.Privilege{UID: 1000, EUID: 1000, GID: nobody}, "", ""},
		{"/usr/bin/passwd", "setuid", event.User{ID: 1000}, event.Privilege{UID: 0, EUID: 0, GID: nobody}, "", ""},
		{"/usr/bin/pkexec", "setuid", event.User{ID: 1000}, event.Privilege{UID: 0, EUID: 0, GID: nobody}, "", ""},
		{"/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "setuid", event.User{ID: 101}, event.Privilege{UID: 0, EUID: 0, GID: nobody}, "", ""},
		{"/usr/sbin/sshd", "setuid", event.User{}, event.Privilege{UID: 1000, EUID: 1000, GID: nobody}, "", ""},
		{"/usr/sbin/cron", "setuid", event.User{}, event.Privilege{UID: 1000, EUID: 1000, GID: nobody}, "", ""},
		{"/usr/sbin/cron", "setgid", event.User{}, event.Privilege{UID: nobody, EUID: nobody, GID: 1000}, "", ""},
		{"/usr/bin/bash", "setuid", event.User{ID: 1000}, event.Privilege{UID: 1000, EUID: 1000, GID: nobody}, "", ""},
		{"/usr/bin/python3.11", "setuid", event.User{}, event.Privilege{UID: 0, EUID: 0, GID: nobody}, "", ""},
		{"/usr/sbin/apache2", "setuid", event.User{}, event.Privilege{UID: 33, EUID: 33, GID: nobody}, "", ""},
		{"/usr/bin/ping", "capset", event.User{ID: 1000}, event.Privilege{Capabilities: 1 << 13}, "", ""},
		{"/usr/lib/systemd/systemd", "capset", event.User{}, event.Privilege{Capabilities: 1<<41 - 1}, "", ""},
		{"/usr/bin/gdb", "ptrace", event.User{ID: 1000}, event.Privilege{TargetPID: 9, TargetExecutable: "/home/alice/a.out"}, "", ""},
		{"/usr/bin/strace", "ptrace", event.User{ID: 1000}, event.Privilege{TargetPID: 9, TargetExecutable: "/usr/bin/ls"}, "", ""},
		{"/usr/bin/sudo", "ptrace", event.User{}, event.Privilege{TargetPID: 9, TargetExecutable: "/usr/bin/sudo"}, "", ""},
		{"/usr/lib/systemd/systemd-coredump", "ptrace", event.User{}, event.Privilege{TargetPID: 9, TargetExecutable: "/usr/sbin/sshd"}, "", ""},
		{"/usr/bin/podman", "unshare", event.User{ID: 1000, Name: "alice"}, event.Privilege{Namespaces: 1<<6 | 1<<2}, "", ""},
		{"/opt/google/chrome/chrome", "unshare", event.User{ID: 1000, Name: "alice"}, event.Privilege{Namespaces: 1 << 6}, "", ""},
		{"/usr/lib/systemd/systemd-executor", "unshare", event.User{Name: "root"}, event.Privilege{Namespaces: 1 << 2}, "", ""},
		{"/usr/lib/systemd/systemd-executor", "unshare", event.User{ID: 33, Name: "www-data"}, event.Privilege{Namespaces: 1 << 6}, "", ""},
		{"/usr/bin/runc", "unshare", event.User{Name: "root"}, event.Privilege{Namespaces: 1<<2 | 1<<3 | 1<<4}, "", inContainer},
		{"/usr/bin/runc", "setns", event.User{}, event.Privilege{Namespaces: 1<<2 | 1<<4}, "", inContainer},
		{"/usr/bin/nsenter", "setns", event.User{}, event.Privilege{Namespaces: 1<<2 | 1<<4}, "", ""},
		{"/opt/cni/bin/bridge", "setns", event.User{}, event.Privilege{Namespaces: 1 << 3}, "", inContainer},
		{"/usr/bin/runc", "mount", event.User{}, event.Privilege{MountSource: "overlay", MountType: "overlay"}, "/", inContainer},
		{"/usr/bin/runc", "mount", event.User{}, event.Privilege{MountSource: "/dev/null"}, "/proc/kcore", inContainer},
		{"/usr/bin/runc", "mount", event.User{}, event.Privilege{MountSource: "proc", MountType: "proc"}, "/proc/self/fd/7", inContainer},
		{"/usr/bin/mount", "mount", event.User{}, event.Privilege{MountSource: "/dev/sdb1", MountType: "ext4"}, "/mnt", ""},
		{"/usr/bin/mount", "mount", event.User{}, event.Privilege{MountSource: "tmpfs", MountType: "tmpfs"}, "/run/x", inContainer},
		{"/usr/lib/systemd/systemd", "mount", event.User{}, event.Privilege{MountSource: "binfmt_misc"}, "/proc/sys/fs/binfmt_misc", ""},
	} {
		ev := event.Blank(event.PrivilegeChange)
		ev.Operation, ev.User, ev.ContainerID, ev.File.Path = tc.operation, tc.before, tc.container, tc.path
		ev.Privilege = tc.now
		if tc.operation != "setuid" && tc.operation != "setgid" {
			ev.Privilege.UID, ev.Privilege.EUID, ev.Privilege.GID = nobody, nobody, nobody
		}
		silent(t, all, ev, tc.executable, tc.operation)
	}
}

// TestShippedRulesLeaveTheOrdinaryKernelAlone does the same for modules and BPF programs.
func TestShippedRulesLeaveTheOrdinaryKernelAlone(t *testing.T) {
	all := parseAll(t)
	for _, tc := range []struct{ executable, operation, name, path string }{
		{"/usr/bin/kmod", "module_file", "", "/usr/lib/modules/6.1.0-50-amd64/kernel/net/netfilter/nf_tables.ko"},
		{"/usr/bin/kmod", "module_load", "nf_tables", ""},
		{"/usr/bin/kmod", "module_load", "zfs", ""},
		{"/usr/lib/systemd/systemd", "module_load", "autofs4", ""},
		{"/usr/lib/systemd/systemd-udevd", "module_file", "", "/usr/lib/modules/6.1.0-50-amd64/kernel/drivers/hid/hid.ko.xz"},
		{"/usr/lib/systemd/systemd-modules-load", "module_load", "kvm", ""},
		{"/usr/lib/systemd/systemd", "bpf_program", "sd_fw_egress", "cgroup_skb"},
		{"/usr/lib/systemd/systemd", "bpf_program", "restrict_filesy", "lsm"},
		{"/usr/lib/systemd/systemd", "bpf_program", "sd_devices", "cgroup_device"},
		{"/usr/bin/runc", "bpf_program", "", "cgroup_device"},
		{"memfd:runc_cloned:/proc/self/exe", "bpf_program", "", "cgroup_device"},
		{"/usr/bin/bpftrace", "bpf_program", "f", "kprobe"},
		{"/usr/bin/cilium-agent", "bpf_program", "cil_from_contai", "sched_cls"},
		{"/usr/sbin/nginx", "bpf_program", "", "sk_reuseport"},
		{"/usr/sbin/kexec", "kexec", "", "/boot/vmlinuz-6.1.0-50-amd64"},
		{"/usr/bin/systemctl", "kexec", "", "/boot/vmlinuz-6.1.0-50-amd64"},
	} {
		ev := event.Blank(event.KernelChange)
		ev.Operation, ev.Kernel.Name = tc.operation, tc.name
		if tc.operation == "bpf_program" {
			ev.Kernel.Type = tc.path
		} else {
			ev.File.Path = tc.path
		}
		silent(t, all, ev, tc.executable, tc.operation+" "+tc.name)
	}
}
