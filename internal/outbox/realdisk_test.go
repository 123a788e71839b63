package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
)

// mount mounts something on a directory of its own until the test ends.
func mount(t *testing.T, source, fstype string, flags uintptr, data string) string {
	t.Helper()
	require.Root(t)
	dir := t.TempDir()
	if source == "" {
		source = dir
	}
	if err := unix.Mount(source, dir, fstype, flags, data); err != nil {
		t.Fatalf("mounting %s: %v", fstype, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// What a full disk does not take is in memory until there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := mount(t, "tmpfs", "tmpfs", 0, "size=8m")
	cfg := Config{Dir: filepath.Join(dir, "outbox"), Quota: LeastQuota, Memory: 2 << 20, still: true, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	fill(l, 20, High, 0)
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, bytes.Repeat([]byte{1}, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	fill(l, 60, High, 0)
	l.Sync()
	l.mend()
	if err := l.Health(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("health on a full disk: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	l.mend()
	fill(l, 20, High, 0)
	l.Sync()
	if err := l.Health(); err != nil {
		t.Error(err)
	}
	if _, memory := l.shelf.bytes(); memory > 0 {
		t.Errorf("%d bytes are in memory still", memory)
	}
	l = reopenKilled(t, l, cfg)
	all := drain(t, l.Reader("a"))
	if len(all) != 100 || len(l.Losses()) > 0 {
		t.Errorf("%d records, want 100; lost: %v", len(all), l.Losses())
	}
	for i, r := range all {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d has sequence %d", i, r.Seq)
		}
	}
	closeLog(t, l)
}

// reopenKilled is what an agent finds that comes after one that was killed.
func reopenKilled(t *testing.T, l *Log, cfg Config) *Log {
	t.Helper()
	for _, tier := range Tiers() {
		for _, s := range l.shelf.all(tier) {
			_ = s.close()
		}
	}
	_ = l.ledger.file.Close()
	_ = l.cursors.file.Close()
	_ = l.lock.Close()
	return open(t, cfg)
}

// On a read-only file system what is there is read, and what comes is in memory.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := mount(t, "", "", unix.MS_BIND, "")
	cfg := Config{Dir: dir, Quota: LeastQuota, still: true, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	fill(l, 20, High, 0)
	closeLog(t, l)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	fill(l, 5, High, 0)
	if err := l.Health(); err == nil {
		t.Error("all is well on a read-only disk")
	}
	all, reader := 0, l.Reader("a")
	for batch := reader.fill(); len(batch) > 0; batch = reader.fill() {
		all += len(batch)
	}
	if err := reader.Ack(); err == nil {
		t.Error("a cursor was kept on a read-only disk")
	}
	if all != 25 {
		t.Errorf("%d records, want 25", all)
	}
	_, err := Open(cfg2(cfg, l))
	if inUse := new(InUseError); !errors.As(err, &inUse) {
		t.Errorf("opening it twice: %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	l.mend() // finds that what is open can't be written
	l.mend()
	if err := l.Health(); err != nil {
		t.Error(err)
	}
	closeLog(t, l)
}

func cfg2(cfg Config, l *Log) Config {
	cfg.Log = l.log
	return cfg
}

func TestOneAgentHasIt(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	l := open(t, cfg)
	_, err := Open(cfg2(cfg, l))
	if inUse := new(InUseError); !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Errorf("opening it twice: %v", err)
	}
	closeLog(t, l)
	closeLog(t, open(t, cfg))
}
