package sink

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// entry receives an entry as journald does: in the datagram, or in a sealed file that comes with it.
func entry(t *testing.T, server *net.UnixConn) (fields map[string]string, asFile bool) {
	t.Helper()
	must(t, server.SetReadDeadline(time.Now().Add(10*time.Second)))
	data, oob := make([]byte, 1<<18), make([]byte, 1024)
	n, oobn, _, _, err := server.ReadMsgUnix(data, oob)
	must(t, err)
	data = data[:n]
	if oobn > 0 {
		if n > 0 {
			t.Fatal("a file comes with data")
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		must(t, err)
		fds, err := unix.ParseUnixRights(&messages[0])
		must(t, err)
		file := os.NewFile(uintptr(fds[0]), "entry")
		defer file.Close()
		seals, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
		must(t, err)
		if want := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE; len(fds) != 1 || seals != want {
			t.Fatalf("%d files, seals %#x", len(fds), seals)
		}
		data, err = io.ReadAll(io.NewSectionReader(file, 0, 1<<24))
		must(t, err)
		asFile = true
	}
	fields = map[string]string{}
	for len(data) > 0 {
		name, rest, ok := bytes.Cut(data, []byte{'\n'})
		if !ok || len(rest) < 8 {
			t.Fatalf("%q", data)
		}
		size := binary.LittleEndian.Uint64(rest)
		fields[string(name)] = string(rest[8 : 8+size])
		if rest[8+size] != '\n' {
			t.Fatalf("%q does not end", name)
		}
		data = rest[8+size+1:]
	}
	return fields, asFile
}

func TestJournal(t *testing.T) {
	server, path := unixgram(t)
	j, err := NewJournal(JournalConfig{Socket: path})
	must(t, err)
	defer j.Close()
	batch := records(1, 3)
	batch[1].JSON = bytes.Replace(batch[1].JSON, []byte("xxx"), bytes.Repeat([]byte("x"), 1<<20), 1)
	batch[2].Rule, batch[2].Count, batch[2].Last = "", 4, batch[2].Time.Add(time.Minute)
	must(t, j.Deliver(t.Context(), batch))
	for i, r := range batch {
		got, asFile := entry(t, server)
		want := map[string]string{
			"MESSAGE": string(Line(r, false)), "PRIORITY": "3", "SYSLOG_IDENTIFIER": "bittern",
			"BITTERN_ID": formatID(r.ID), "BITTERN_KIND": "detection", "BITTERN_JSON": string(document(&r)),
		}
		if r.Rule != "" {
			want["BITTERN_RULE_ID"] = r.Rule
		}
		if !maps.Equal(got, want) || asFile != (i == 1) {
			t.Errorf("entry %d: %.500v, want %.500v; as a file: %v", i, got, want, asFile)
		}
	}

	// journald is restarted, and its socket with it; the half of the batch that it had is not sent again.
	must(t, server.Close())
	if err := j.Deliver(t.Context(), records(4, 5)); err == nil {
		t.Error("nobody listens, and there is no error")
	}
	_ = os.Remove(path)
	server, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer server.Close()
	must(t, j.Deliver(t.Context(), records(4, 5)))
	for _, r := range records(4, 5) {
		if got, _ := entry(t, server); got["BITTERN_ID"] != formatID(r.ID) {
			t.Errorf("%v", got)
		}
	}
}

// What was sent of a batch is not sent again when the rest is.
func TestJournalGoesOn(t *testing.T) {
	server, path := unixgram(t)
	j, err := NewJournal(JournalConfig{Socket: path, Timeout: time.Millisecond})
	must(t, err)
	defer j.Close()
	const n = 2000 // more than the socket takes
	if err := j.Deliver(t.Context(), records(1, n)); err == nil {
		t.Fatal("no error")
	}
	j.link.timeout = time.Minute
	done := make(chan error)
	go func() { done <- j.Deliver(t.Context(), records(1, n)) }()
	for _, r := range records(1, n) {
		if got, _ := entry(t, server); got["BITTERN_ID"] != formatID(r.ID) {
			t.Fatalf("%v, want record %d", got, r.Seq)
		}
	}
	must(t, <-done)
}

func TestJournalConfig(t *testing.T) {
	for _, c := range []JournalConfig{{Socket: "x"}, {Timeout: -1}} {
		if _, err := NewJournal(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
