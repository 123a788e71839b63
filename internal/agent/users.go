package agent

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"time"
)

const passwdFile = "/etc/passwd"

// users knows the names of the users in passwd(5). The file is read again when it
// has changed: looking costs one stat. It asks no directory service, so that no
// lookup ever waits for a network. One goroutine at a time may use it.
type users struct {
	path     string
	names    map[uint32]string
	size     int64
	modified time.Time
	file     os.FileInfo // as it was when it was read, nil before that
}

func newUsers(path string) *users { return &users{path: path} }

// name returns the name of a user, "" if it is not known.
func (u *users) name(id uint32) string {
	info, err := os.Stat(u.path)
	if err != nil {
		return u.names[id] // what was known last
	}
	if u.file == nil || !os.SameFile(info, u.file) || info.Size() != u.size || !info.ModTime().Equal(u.modified) {
		u.read(info)
	}
	return u.names[id]
}

func (u *users) read(info os.FileInfo) {
	f, err := os.Open(u.path)
	if err != nil {
		return
	}
	defer f.Close()
	names := make(map[uint32]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), ":", 4)
		if len(fields) < 4 || fields[0] == "" {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if _, known := names[uint32(id)]; err != nil || known {
			continue // of several names of one id the first counts
		}
		names[uint32(id)] = fields[0]
	}
	if lines.Err() == nil {
		u.names, u.file, u.size, u.modified = names, info, info.Size(), info.ModTime()
	}
}
