package pgtest_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/db/pgtest"
	"bittern/internal/require"
)

// victim names the environment variable that makes this program one that starts a cluster and is killed.
const victim = "BITTERN_TEST_VICTIM"

func TestMain(m *testing.M) {
	if programs := os.Getenv(victim); programs != "" {
		c, err := pgtest.Start(pgtest.Config{Programs: programs})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		pid, err := os.ReadFile(c.Socket + "/data/postmaster.pid")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(strings.Split(string(pid), "\n")[0], c.Socket)
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// TestServerDiesWithTheTest: also when the test is killed, no server stays, and the next one removes its files.
func TestServerDiesWithTheTest(t *testing.T) {
	t.Run("installed", func(t *testing.T) { dies(t, require.DB(t)) })
	t.Run("in a tree", func(t *testing.T) { dies(t, require.OtherPostgres(t, "17")) })
}

func dies(t *testing.T, programs string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"="+programs)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	number, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	files, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	server, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}, int((20 * time.Second).Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}, int((20 * time.Second).Milliseconds()))
	}
	if n != 1 || err != nil {
		t.Fatalf("the server, process %d, is still there: %v", pid, err)
	}
	c, err := pgtest.Start(pgtest.Config{Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{dir, files} {
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", left, err)
		}
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.Socket); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", c.Socket, err)
	}
}
