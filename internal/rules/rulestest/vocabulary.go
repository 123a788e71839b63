package rulestest

import (
	"net/netip"
	"strconv"
	"strings"

	"bittern/internal/event"
)

var (
	paths = []string{
		"/usr/bin/curl", "/usr/bin/wget", "/bin/sh", "/bin/bash", "/usr/bin/nc", "/tmp/.x/curl", "/tmp/a", "/a", "/",
		"curl", "sh", "./a", "/usr/bin/curl/", "/curl/usr/bin", "/opt/caf\u00e9/sh", "/dev/shm/SSH", "/home/k\u212a/\u017f", "/proc/self/fd/3",
	}
	files = []string{
		"/etc/shadow", "/etc/passwd", "/etc/cron.d/a", "/home/a/.ssh/id_rsa", "/root/.ssh/id_rsa", "/id_rsa/a", "/proc/1/mem", "/proc/3/mem",
		"/dev/null", "/tmp/a", "/a", "/", "memfd:a", "/home/caf\u00e9/.aws/Credentials", "/home/\u212a/\u017fh", "/tmp/a b", "/etc/shadow (deleted)",
	}
	arguments = []string{
		"curl", "wget", "sh", "-c", "-e", "-", "a", "", "http://198.51.100.7/x", "https://a.example/x.sh", "-O", "/tmp/a",
		"--output=/tmp/a", "x y", " ", "nc -e /bin/sh", "caf\u00e9", "K\u212ak", "\u017fsS", "a*b", "what?", "back\\slash", "\"quoted\"", "$(id)",
		"aab", "abab", "bba", "\ufffd",
	}
	mountSources    = []string{"/dev/sda1", "tmpfs", "overlay", "none", "/etc", "//a.example/Share", "proc"}
	mountTypes      = []string{"ext4", "tmpfs", "overlay", "proc", "nfs4", "fuse.sshfs"}
	kernelNames     = []string{"nf_tables", "overlay", "diamorphine", "a", "on_exec", "Count_1", "probe a"}
	containerIDs    = []string{strings.Repeat("0a", 32), strings.Repeat("c0de", 16), strings.Repeat("0a1", 21) + "f"}
	containerGroups = []string{"/docker-%s.scope", "/cri-containerd-%s.scope", "/docker/%s", "/libpod-%s.scope/container", "/crio-conmon-%s.scope"}

	users = []string{"root", "www-data", "Alice"}
	uids  = []uint32{0, 33, 1000}

	modes     = []uint32{0o644, 0o755, 0o600, 0o666, 0o4755, 0o2755, 0o6711, 0o1777, 0}
	exitCodes = []uint32{0, 1, 2, 255}
	signals   = []uint32{0, 9, 11}

	addresses = []string{
		"127.0.0.1", "0.0.0.0", "10.0.0.1", "10.1.2.3", "192.168.1.10", "198.51.100.7", "169.254.169.254", "255.255.255.255",
		"::1", "::", "fe80::1", "2001:db8::1", "2001:db8:a::c0de", "fd00:ec2::254", "ff02::fb",
	}
	prefixLengths = []int{0, 1, 7, 8, 9, 16, 24, 31, 32, 64, 96, 127, 128}
	ports         = []uint32{0, 22, 53, 443, 4444, 65535}
	targetPIDs    = []uint32{1, 2, 3} // 0 is none

	// lengths are those around the limits of the kernel's tables and buffers.
	lengths = []int{30, 125, 126, 127, 128, 129, 130, 255, 256, 1024, 4095, 4096}

	// weights says how often a rule uses a field, 1 if it is not named.
	weights = map[event.Field]int{
		event.ProcessExecutable: 3, event.ProcessCommandLine: 3, event.ProcessArgs: 2, event.UserID: 2,
		event.ProcessExitCode: 4, event.ProcessExitSignal: 4,
		event.FilePath: 6, event.FileName: 3, event.FileOpenRead: 2, event.FileOpenWrite: 2,
		event.DestinationIP: 6, event.DestinationPort: 6, event.NetworkTransport: 2, event.NetworkType: 2,
		event.SourceIP: 4, event.SourcePort: 4, event.NetworkOperation: 4,
		event.FileOperation: 6, event.FileNewPath: 3, event.FileTargetPath: 2, event.FileUID: 3, event.FileGID: 3,
		event.FileModeSetuid: 2, event.FileModeExecutable: 2,
		event.PrivilegeOperation: 6, event.PrivilegeCapabilities: 4, event.PrivilegeNamespaces: 3, event.PrivilegeTargetPID: 3,
		event.UserChangesID: 3, event.UserChangesEffectiveID: 3, event.UserChangesGroupID: 2, event.MountSource: 2, event.MountType: 2,
		event.KernelOperation: 6, event.KernelName: 5, event.KernelType: 4,
	}
)

// vocabulary are the fields of a class by kind, each as often as its weight.
type vocabulary struct{ strings, numbers, booleans []event.Field }

func vocabularyOf(class event.Class) vocabulary {
	var v vocabulary
	for _, info := range event.Fields() {
		if !info.Field.In(class) {
			continue
		}
		of := map[event.Kind]*[]event.Field{event.String: &v.strings, event.Number: &v.numbers, event.Bool: &v.booleans}[info.Kind]
		for range max(1, weights[info.Field]) {
			*of = append(*of, info.Field)
		}
	}
	return v
}

// numbersOf returns numbers that the field often has. All fields can hold them.
func numbersOf(f event.Field) []uint32 {
	switch f {
	case event.ProcessExitCode:
		return exitCodes
	case event.ProcessExitSignal:
		return signals
	case event.DestinationPort, event.SourcePort:
		return ports
	case event.PrivilegeTargetPID:
		return targetPIDs
	}
	return uids
}

func itoa[T int | uint32](n T) string { return strconv.FormatInt(int64(n), 10) }

// networkOf returns a network that the address is in.
func (g *Generator) networkOf(address string) string {
	addr := netip.MustParseAddr(address)
	return netip.PrefixFrom(addr, min(pick(g, prefixLengths), addr.BitLen())).Masked().String()
}

// value returns a value as an event may have for the field, valid UTF-8.
func (g *Generator) value(f event.Field) string {
	if values := f.Info().Values; values != nil {
		return pick(g, values)
	}
	if f.Info().Address {
		return pick(g, addresses)
	}
	if g.oneIn(12) {
		return longText(pick(g, lengths))
	}
	switch f {
	case event.ProcessExecutable, event.ProcessParentExecutable, event.ProcessWorkingDirectory, event.ProcessScript,
		event.PrivilegeTargetExecutable:
		return pick(g, paths)
	case event.FilePath, event.FileNewPath, event.FileTargetPath:
		return pick(g, files)
	case event.MountSource:
		return pick(g, mountSources)
	case event.MountType:
		return pick(g, mountTypes)
	case event.KernelName:
		return pick(g, kernelNames)
	case event.FieldContainerID:
		return pick(g, containerIDs)
	case event.FileName:
		_, name := splitPath(pick(g, files))
		return name
	case event.ProcessName, event.ProcessParentName:
		_, name := splitPath(pick(g, paths))
		return name
	case event.ProcessArgs:
		return pick(g, arguments)
	case event.UserName:
		return pick(g, users)
	}
	line := ""
	for i := range g.between(0, 4) {
		if i > 0 {
			line += " "
		}
		line += pick(g, arguments)
	}
	return line
}

func splitPath(path string) (dir, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1], path[i+1:]
		}
	}
	return "", path
}
