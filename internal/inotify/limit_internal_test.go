package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLimitedNamesTheLowerLimit(t *testing.T) {
	sysctls := func(values map[string]string) string {
		root := t.TempDir()
		for name, value := range values {
			path := filepath.Join(root, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(value), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	host := sysctls(map[string]string{"fs/inotify/max_user_watches": "8192\n", "user/max_inotify_watches": "8192\n"})
	space := sysctls(map[string]string{"fs/inotify/max_user_instances": "128\n", "user/max_inotify_instances": "5\n"})
	for _, c := range []struct {
		root, what string
		err        error
		want       string
	}{
		{host, "watches", unix.ENOSPC, "limit fs.inotify.max_user_watches = 8192 reached: no space left on device" +
			" (raise it, for example: sysctl -w fs.inotify.max_user_watches=N)"},
		{space, "instances", unix.EMFILE, "limit user.max_inotify_instances = 5 reached: too many open files" +
			" (raise it, for example: sysctl -w user.max_inotify_instances=N)"},
		{t.TempDir(), "watches", unix.ENOSPC, "limit fs.inotify.max_user_watches = unknown reached: no space left on device" +
			" (raise it, for example: sysctl -w fs.inotify.max_user_watches=N)"},
		{host, "watches", unix.EACCES, "permission denied"},
		{host, "watches", unix.EMFILE, "too many open files"},
		{space, "instances", unix.ENFILE, "too many open files in system"},
	} {
		if got := limited(c.root, c.what, c.err); got.Error() != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestBatchReasons(t *testing.T) {
	b := newBatch([]Event{
		{Watch: 1, Mask: unix.IN_IGNORED}, {Watch: -1, Mask: unix.IN_Q_OVERFLOW}, {Watch: 2, Mask: unix.IN_UNMOUNT},
		{Watch: 3, Mask: unix.IN_IGNORED},
	}, time.Time{}, func(w Watch) bool { return w == 3 })
	if b.Rescan.String() != "overflow+ignored+unmounted" || len(b.Events) != 2 {
		t.Errorf("rescan %v, events %+v", b.Rescan, b.Events)
	}
	if got := Reason(0).String(); got != "none" {
		t.Errorf("no reason is %q", got)
	}
}
