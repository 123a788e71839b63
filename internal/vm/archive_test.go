package vm

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/fstest"
)

// entries reads a cpio archive back, as the kernel would.
func entries(t *testing.T, b []byte) (all []string) {
	t.Helper()
	number := func(at int) int {
		n, err := strconv.ParseUint(string(b[at:at+8]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	aligned := func(n int) int { return (n + 3) &^ 3 }
	for at := 0; ; {
		if at%4 != 0 || string(b[at:at+6]) != "070701" {
			t.Fatalf("no entry begins at %d", at)
		}
		mode, size, nameSize := number(at+14), number(at+54), number(at+94)
		name := string(b[at+110 : at+110+nameSize-1])
		data := aligned(at + 110 + nameSize)
		if name == "TRAILER!!!" {
			if data != len(b) {
				t.Errorf("%d bytes behind the trailer", len(b)-data)
			}
			return all
		}
		all = append(all, fmt.Sprintf("%o %s %q", mode, name, b[data:data+size]))
		at = aligned(data + size)
	}
}

func TestArchiveReadsBack(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.file("init", 0o755, []byte("12345"))
	a.link("bin/sh", "busybox")
	a.file("bin/x", 0o640, nil)
	a.tree("t", fstest.MapFS{"p/p.test": {Data: []byte("abc"), Mode: 0o700}})
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`100755 init "12345"`, `40755 bin ""`, `120777 bin/sh "busybox"`, `100640 bin/x ""`,
		`40755 t ""`, `40755 t/p ""`, `100700 t/p/p.test "abc"`,
	}
	if got := entries(t, b.Bytes()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestArchiveReportsWriteErrors(t *testing.T) {
	a := newArchive(brokenWriter{})
	a.file("big", 0o644, make([]byte, 1<<17))
	if err := a.close(); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}
