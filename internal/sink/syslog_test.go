package sink

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bittern/internal/outbox"
)

func syslogTo(t *testing.T, cfg SyslogConfig) *Syslog {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = new(logbook).log()
	}
	s, err := NewSyslog(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// remote is a message of RFC 5424.
var remote = regexp.MustCompile(`^<(\d{1,3})>1 (\S+) (\S+) bittern (\d+) (\S+) - (.*)$`)

// local is a message of RFC 3164, as syslog(3) sends it: without a host.
var local = regexp.MustCompile(`^<(\d{1,3})>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) bittern\[(\d+)\]: (.*)$`)

// messages returns the JSON lines in syslog messages.
func messages(t *testing.T, form *regexp.Regexp, all [][]byte) (lines []byte) {
	t.Helper()
	for _, m := range all {
		parts := form.FindSubmatch(m)
		if parts == nil {
			t.Fatalf("%q does not match %s", m, form)
		}
		lines = append(append(lines, parts[len(parts)-1]...), '\n')
	}
	return lines
}

// datagrams receives so many.
func datagrams(t *testing.T, from net.PacketConn, n int) (all [][]byte) {
	t.Helper()
	must(t, from.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, 1<<17)
	for range n {
		n, _, err := from.ReadFrom(buf)
		must(t, err)
		all = append(all, bytes.Clone(buf[:n]))
	}
	return all
}

// frames reads messages with their length in front, until the end.
func frames(t *testing.T, from io.Reader) (all [][]byte) {
	r := bufio.NewReader(from)
	for {
		length, err := r.ReadString(' ')
		if err != nil {
			return all
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil {
			t.Errorf("length %q", length)
			return all
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil {
			return all // torn: it comes again
		}
		all = append(all, message)
	}
}

func unixgram(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := t.TempDir() + "/s"
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return server, path
}

func TestSyslogLocal(t *testing.T) {
	server, path := unixgram(t)
	s := syslogTo(t, SyslogConfig{Address: "unix://" + path})
	must(t, s.Deliver(t.Context(), records(1, 5)))
	got := datagrams(t, server, 5)
	wantSeqs(t, seqs(t, messages(t, local, got)), upTo(5))
	parts := local.FindSubmatch(got[0])
	if want := record(1).Time.Local().Format(time.Stamp); string(parts[1]) != "131" || string(parts[2]) != want || string(parts[3]) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q", got[0])
	}

	// syslogd is restarted.
	must(t, server.Close())
	if err := s.Deliver(t.Context(), records(6, 7)); err == nil {
		t.Error("nobody listens, and there is no error")
	}
	_ = os.Remove(path)
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer server.Close()
	must(t, s.Deliver(t.Context(), records(6, 7)))
	wantSeqs(t, seqs(t, messages(t, local, datagrams(t, server, 2))), []uint64{6, 7})

	// Restarted between two deliveries, it is not even noticed.
	must(t, server.Close())
	_ = os.Remove(path)
	server, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer server.Close()
	must(t, s.Deliver(t.Context(), records(8, 8)))
	wantSeqs(t, seqs(t, messages(t, local, datagrams(t, server, 1))), []uint64{8})
}

// What was sent of a batch is not sent again when the rest is.
func TestSyslogGoesOn(t *testing.T) {
	server, path := unixgram(t)
	s := syslogTo(t, SyslogConfig{Address: "unix://" + path, Timeout: time.Millisecond})
	const n = 2000 // more than the socket takes
	if err := s.Deliver(t.Context(), records(1, n)); err == nil {
		t.Fatal("no error")
	}
	s.link.timeout = time.Minute
	done := make(chan error)
	go func() { done <- s.Deliver(t.Context(), records(1, n)) }()
	wantSeqs(t, seqs(t, messages(t, local, datagrams(t, server, n))), upTo(n))
	must(t, <-done)
}

func TestSyslogLocalStream(t *testing.T) {
	path := t.TempDir() + "/s"
	server, err := net.Listen("unix", path)
	must(t, err)
	defer server.Close()
	got := make(chan [][]byte)
	go func() {
		conn, err := server.Accept()
		if err != nil {
			t.Error(err)
		}
		all, _ := io.ReadAll(conn)
		_ = conn.Close()
		got <- bytes.Split(bytes.TrimSuffix(all, []byte{'\n'}), []byte{'\n'})
	}()
	s := syslogTo(t, SyslogConfig{Address: "unix://" + path})
	must(t, s.Deliver(t.Context(), records(1, 5)))
	must(t, s.Close())
	wantSeqs(t, seqs(t, messages(t, local, <-got)), upTo(5))
}

func TestSyslogUDP(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer server.Close()
	var log logbook
	s := syslogTo(t, SyslogConfig{Address: "udp://" + server.LocalAddr().String(), Facility: "auth", Hostname: "web 3é", Log: log.log()})
	huge := record(2)
	huge.JSON = bytes.Replace(huge.JSON, []byte("xxx"), bytes.Repeat([]byte("x"), 70000), 1)
	vast := record(3)
	vast.JSON, vast.Text = huge.JSON, bytes.Repeat([]byte("é"), 40000)
	gap := record(4)
	gap.Kind, gap.Tier = outbox.Gap, outbox.System
	must(t, s.Deliver(t.Context(), []outbox.Record{record(1), huge, vast, gap}))
	got := datagrams(t, server, 4)
	pid := strconv.Itoa(os.Getpid())
	for i, want := range []string{
		`<35>1 2026-11-23T16:29:01.123456Z web3 bittern ` + pid + ` detection - {"@timestamp"`,
		`<35>1 2026-11-23T16:29:01.123456Z web3 bittern ` + pid + ` detection - 2026-11-23 16:29:01.123 high     BT0001 v1 2`,
		`<35>1 2026-11-23T16:29:01.123456Z web3 bittern ` + pid + ` detection - éé`,
		`<36>1 2026-11-23T16:29:01.123456Z web3 bittern ` + pid + ` gap - {"@timestamp"`,
	} {
		if !bytes.HasPrefix(got[i], []byte(want)) {
			t.Errorf("%.150q, want %q", got[i], want)
		}
	}
	if string(got[1]) != `<35>1 2026-11-23T16:29:01.123456Z web3 bittern `+pid+` detection - 2026-11-23 16:29:01.123 high     BT0001 v1 2` {
		t.Errorf("%q", got[1])
	}
	if n := len(got[2]); n < 8<<10 || n > 9<<10 || bytes.ContainsRune(got[2], '�') {
		t.Errorf("a line too large for a datagram is cut to %d bytes", n)
	}
	if s.Shortened() != 2 || log.count("too large for a datagram") != 1 {
		t.Errorf("%d shortened, log %s", s.Shortened(), log.buf.String())
	}
}

func TestSyslogTCPServerCloses(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer server.Close()
	got := make(chan [][]byte)
	receive := func() {
		conn, err := server.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		all := bytes.Buffer{}
		for r := bufio.NewReader(conn); bytes.Count(all.Bytes(), []byte("\"high\"}}")) < 5; { // then closes
			b, err := r.ReadByte()
			if err != nil {
				t.Error(err)
				return
			}
			all.WriteByte(b)
		}
		_ = conn.Close()
		got <- frames(t, &all)
	}
	s := syslogTo(t, SyslogConfig{Address: "tcp://" + server.Addr().String()})
	for i := range uint64(3) {
		go receive()
		must(t, s.Deliver(t.Context(), records(5*i+1, 5*i+5)))
		wantSeqs(t, seqs(t, messages(t, remote, <-got)), upTo(5*i + 5)[5*i:])
		<-s.link.gone // the next batch must not go to the old connection
	}
}

func TestSyslogTLS(t *testing.T) {
	https := httptest.NewTLSServer(nil) // for its certificate
	https.Close()
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	server, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates})
	must(t, err)
	defer server.Close()
	got := make(chan [][]byte)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			if all := frames(t, conn); len(all) > 0 {
				got <- all
			}
			_ = conn.Close()
		}
	}()
	s := syslogTo(t, SyslogConfig{Address: "tls://" + server.Addr().String(), Roots: roots})
	must(t, s.Deliver(t.Context(), records(1, 5)))
	must(t, s.Close())
	wantSeqs(t, seqs(t, messages(t, remote, <-got)), upTo(5))

	var unknown x509.UnknownAuthorityError
	if err := syslogTo(t, SyslogConfig{Address: "tls://" + server.Addr().String()}).Deliver(t.Context(), records(1, 1)); !errors.As(err, &unknown) {
		t.Errorf("error %v, want one of the certificate", err)
	}
}

// A server that reads nothing is waited for until ctx is done or the timeout is over.
func TestSyslogHangs(t *testing.T) {
	_, path := unixgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := syslogTo(t, SyslogConfig{Address: "unix://" + path})
	done := make(chan error)
	go func() { done <- s.Deliver(ctx, records(1, 10000)) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	s = syslogTo(t, SyslogConfig{Address: "unix://" + path, Timeout: time.Millisecond})
	var over net.Error
	if err := s.Deliver(t.Context(), records(1, 10000)); !errors.As(err, &over) || !over.Timeout() {
		t.Errorf("error %v", err)
	}
}

func TestSyslogErrorsAreTheSame(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := server.Addr().String()
	must(t, server.Close())
	s := syslogTo(t, SyslogConfig{Address: "tcp://" + address})
	want := "connecting to tcp://" + address + ": connect: connection refused"
	for range 2 {
		if err := s.Deliver(t.Context(), records(1, 1)); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestSyslogConfig(t *testing.T) {
	log := new(logbook).log()
	for _, address := range []string{"", "/dev/log", "unix://", "unix://dev/log", "udp://x", "udp://:514", "tcp://x:1/y", "http://x:1", "tls://u@x:1", "tcp://x:1?a", "%"} {
		if err := (SyslogConfig{Address: address, Log: log}).Validate(); err == nil {
			t.Errorf("address %q is taken", address)
		}
	}
	for _, address := range []string{"unix:///dev/log", "udp://log.example:514", "tcp://[::1]:601", "tls://log.example:6514"} {
		if err := (SyslogConfig{Address: address, Log: log}).Validate(); err != nil {
			t.Error(err)
		}
	}
	if err := (SyslogConfig{Address: "udp://x:1", Facility: "kern", Log: log}).Validate(); err == nil || !strings.Contains(err.Error(), "local7") {
		t.Error(err)
	}
}

func TestSeverity(t *testing.T) {
	for tier, want := range map[outbox.Tier]int{outbox.Critical: 2, outbox.High: 3, outbox.Medium: 4, outbox.Low: 6, outbox.System: 5} {
		for _, kind := range []outbox.Kind{outbox.Detection, outbox.Repeats} {
			if got := severity(&outbox.Record{Kind: kind, Tier: tier}); got != want {
				t.Errorf("%s %s has severity %d, want %d", tier, kind, got, want)
			}
		}
	}
}
