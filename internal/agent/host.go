package agent

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

func rootFS() fs.FS { return os.DirFS("/") }

// readHost describes this machine. Only the boot id must be there: with it
// processes are told apart.
func readHost(root fs.FS) (*event.Host, error) {
	boot, err := fs.ReadFile(root, "proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("reading the boot id: %w (is /proc mounted?)", err)
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return nil, fmt.Errorf("asking for the kernel's name: %w", err)
	}
	h := &event.Host{
		Hostname:     unix.ByteSliceToString(uname.Nodename[:]),
		ID:           firstLine(root, "etc/machine-id"),
		BootID:       strings.TrimSpace(string(boot)),
		Architecture: unix.ByteSliceToString(uname.Machine[:]),
		OS:           readOS(root),
	}
	h.OS.Kernel = unix.ByteSliceToString(uname.Release[:])
	return h, nil
}

func firstLine(root fs.FS, path string) string {
	data, err := fs.ReadFile(root, path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// readOS reads os-release(5).
func readOS(root fs.FS) event.OS {
	data, err := fs.ReadFile(root, "etc/os-release")
	if err != nil {
		// It is often an absolute link, which a file system below a root can't follow.
		data, err = fs.ReadFile(root, "usr/lib/os-release")
	}
	if err != nil {
		return event.OS{}
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			values[key] = unquoteShell(value)
		}
	}
	family, _, _ := strings.Cut(values["ID_LIKE"], " ")
	if family == "" {
		family = values["ID"]
	}
	return event.OS{
		Platform: values["ID"], Family: family, Name: values["NAME"],
		Full: values["PRETTY_NAME"], Version: values["VERSION_ID"],
	}
}

// unquoteShell undoes the quotes that os-release(5) allows.
func unquoteShell(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '"' && s[0] != '\'') {
		return s
	}
	quote := s[0]
	s = s[1 : len(s)-1]
	if quote == '\'' {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
