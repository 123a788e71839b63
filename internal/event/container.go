package event

import "strings"

// runtimes are the container runtimes that put their name before a container's id in
// the name of its cgroup. Their monitors have another, such as "crio-conmon".
var runtimes = []string{"docker-", "cri-containerd-", "crio-", "libpod-"}

// ContainerID returns the id of the container that a cgroup belongs to, 64 hexadecimal
// digits, from the last component of the cgroup's path that has one: of docker,
// containerd, cri-o and podman. It returns "" if there is none.
func ContainerID(cgroupPath string) string {
	id, below := "", false
	for name := range strings.SplitSeq(cgroupPath, "/") {
		base := strings.TrimSuffix(name, ".scope")
		if below && isContainerID(base) {
			id = base
		}
		for _, runtime := range runtimes {
			if rest, ok := strings.CutPrefix(base, runtime); ok && isContainerID(rest) {
				id = rest
			}
		}
		// Without systemd, the id alone names the cgroup. The kernel gives the last
		// components, so the one called kubepods may be missing.
		below = below || name == "docker" || strings.HasPrefix(name, "kubepods") || strings.HasPrefix(name, "pod")
	}
	return id
}

func isContainerID(s string) bool {
	const digits = 64
	if len(s) != digits {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
