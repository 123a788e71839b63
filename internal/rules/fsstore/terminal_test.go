package fsstore

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
	"bittern/internal/rules/storetest"
)

// terminal is a program that runs on a terminal of its own, with a person's keys.
type terminal struct {
	master *os.File
	cmd    *exec.Cmd
	read   chan struct{} // closed when the program has closed the terminal

	mu    sync.Mutex
	shown []byte
	more  *sync.Cond // shown has grown, or will no more
	ended bool
}

// onTerminal starts a program in the rules directory.
func (f *fixture) onTerminal(t *testing.T, tool string, args ...string) *terminal {
	t.Helper()
	path := require.Tool(t, tool)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	var number int
	conn, err := master.SyscallConn()
	must(t, err)
	must(t, conn.Control(func(fd uintptr) {
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		err = errors.Join(err, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0),
			unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}))
	}))
	must(t, err)
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	term := &terminal{master: master, read: make(chan struct{}), cmd: exec.CommandContext(t.Context(), path, args...)}
	term.more = sync.NewCond(&term.mu)
	term.cmd.Dir, term.cmd.Env = f.dir, append(f.environ(), "TERM=linux")
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = slave, slave, slave
	term.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	err = term.cmd.Start()
	must(t, errors.Join(err, slave.Close()))
	go term.drain()
	t.Cleanup(func() {
		_ = term.cmd.Process.Kill() // unless it has ended
		_ = term.cmd.Wait()
		_ = master.Close()
		<-term.read
	})
	return term
}

func (term *terminal) drain() {
	defer close(term.read)
	buf := make([]byte, 4096)
	for {
		n, err := term.master.Read(buf)
		term.mu.Lock()
		term.shown, term.ended = append(term.shown, buf[:n]...), err != nil // EIO after the last one has closed it
		term.more.Broadcast()
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shows waits until the program has drawn the text.
func (term *terminal) shows(t *testing.T, text string) {
	t.Helper()
	term.mu.Lock()
	defer term.mu.Unlock()
	for !bytes.Contains(term.shown, []byte(text)) {
		if term.ended {
			t.Fatalf("%s has ended, after it showed %q", term.cmd.Path, term.shown)
		}
		term.more.Wait()
	}
}

func (term *terminal) types(t *testing.T, keys string) {
	t.Helper()
	_, err := term.master.WriteString(keys)
	must(t, err)
}

func (term *terminal) ends(t *testing.T) {
	t.Helper()
	if err := term.cmd.Wait(); err != nil {
		<-term.read
		t.Fatalf("%s: %v, after it showed %q", term.cmd.Path, err, term.shown)
	}
}

// TestEditorsMakeOneChange opens a file as a person does, saves it twice in one session, since editors
// treat the first time differently, and leaves. Version 1 becomes 2, then 3.
func TestEditorsMakeOneChange(t *testing.T) {
	const (
		delete    = "\x7f"
		lineTwo   = "\x0e\x05" // down, end: where the version is
		emacsSave = "\x18\x13" // C-x C-s
		emacsExit = "\x18\x03" // C-x C-c
		nanoSave  = "\x13"     // ^S
		nanoExit  = "\x18"     // ^X
	)
	vim := [3]string{":%s/rule_version: 1/rule_version: 2/\r:w\r", ":%s/rule_version: 2/rule_version: 3/\r:w\r", ":q\r"}
	nano := [3]string{lineTwo + delete + "2" + nanoSave, delete + "3" + nanoSave, nanoExit}
	emacs := [3]string{lineTwo + delete + "2" + emacsSave, delete + "3" + emacsSave, emacsExit}
	for _, c := range []struct {
		name string
		keys [3]string
		args []string
		left string // beside the files, in the directory, when the editor is done
	}{
		{"vim", vim, []string{"vim"}, ""},
		{"vim backupcopy=yes", vim, []string{"vim", "--cmd", "set backupcopy=yes"}, ""},
		{"vim backupcopy=no", vim, []string{"vim", "--cmd", "set backupcopy=no"}, ""},
		{"vim that keeps backups", vim, []string{"vim", "--cmd", "set backup backupcopy=no"}, "a.yml~"},
		{"vim without backups", vim, []string{"vim", "--cmd", "set nowritebackup noswapfile"}, ""},
		{"nano", nano, []string{"nano"}, ""},
		{"nano with backup and lock", nano, []string{"nano", "--backup", "--locking"}, "a.yml~"},
		{"emacs", emacs, []string{"emacs", "-nw", "--no-splash"}, "a.yml~"},
		{"emacs that copies", emacs, []string{"emacs", "-nw", "--no-splash", "--eval", "(setq backup-by-copying t)"}, "a.yml~"},
		{"emacs without backups", emacs, []string{"emacs", "-nw", "--no-splash", "--eval", "(setq make-backup-files nil)"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Not below /tmp, where vim and emacs make no backups, and save in another way.
			dir, err := os.MkdirTemp("/var/tmp", "bittern")
			must(t, err)
			t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
			fill(t, dir, two())
			f := openStore(t, config(dir, endless))
			sub := f.Changes()
			term := f.onTerminal(t, c.args[0], append(c.args[1:], "a.yml")...)
			term.shows(t, "needle-1")
			term.types(t, c.keys[0])
			storetest.Expect(t, sub, "definition R1 v2")
			term.types(t, c.keys[1])
			storetest.Expect(t, sub, "definition R1 v3")
			term.types(t, c.keys[2])
			term.ends(t)
			f.undisturbed(t, sub, "R1v3 R2v1")
			if names := f.strangers(t); strings.Join(names, " ") != c.left {
				t.Errorf("it left %q, want %q: the test no longer does what it says", names, c.left)
			}
		})
	}
}
