package loader

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// cgroupRoot returns where the cgroup2 file system is mounted: /sys/fs/cgroup on most
// hosts, below it where cgroups of both versions are in use.
func cgroupRoot() (string, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		// id, parent, device, root, mount point, options, ..., -, type, source, options
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errNoCgroup
}

// ownCgroup returns the directory of the cgroup that this process is in.
func ownCgroup() (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(membership)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return filepath.Join(root, strings.TrimSpace(path)), nil
		}
	}
	return "", errors.New("this process is in no cgroup of version 2")
}
