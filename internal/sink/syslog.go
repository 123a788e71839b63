package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"bittern/internal/outbox"
)

// SyslogConfig is where records go, and as whose. Log is required.
type SyslogConfig struct {
	// Address is unix:///dev/log, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT.
	Address string
	// Facility is one of Facilities; local0 if "".
	Facility string
	// Hostname is this host's name, which the kernel gives if it is "".
	Hostname string
	// Roots are who may have signed the certificate of a tls server; nil: whom the system trusts.
	Roots *x509.CertPool
	// Timeout is that of a connect, and of sending a batch; 30 s if 0.
	Timeout time.Duration
	Log     *slog.Logger
}

// Validate says what is wrong.
func (c SyslogConfig) Validate() error {
	_, err := c.link()
	_, known := facilities()[c.Facility]
	switch {
	case err != nil:
		return err
	case c.Facility != "" && !known:
		return fmt.Errorf("sending to syslog: no such facility %q, there are %s", c.Facility, strings.Join(Facilities(), ", "))
	case c.Timeout < 0:
		return fmt.Errorf("sending to syslog: timeout %v is negative", c.Timeout)
	case c.Log == nil:
		return errors.New("sending to syslog: no logger is given")
	}
	return nil
}

func (c SyslogConfig) link() (*link, error) {
	u, err := url.Parse(c.Address)
	if err != nil {
		return nil, fmt.Errorf("sending to syslog: %w", err)
	}
	l := &link{network: u.Scheme, address: u.Host, timeout: c.Timeout}
	if l.timeout == 0 {
		l.timeout = 30 * time.Second
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("sending to syslog: address %q has more than host and port, or path", c.Address)
	}
	switch u.Scheme {
	case "unix":
		if l.address = u.Path; u.Host != "" || l.address == "" {
			return nil, fmt.Errorf("sending to syslog: address %q names no socket, as unix:///dev/log does", c.Address)
		}
		return l, nil
	case "tls":
		l.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: c.Roots, MinVersion: tls.VersionTLS12}
	case "udp", "tcp":
	default:
		return nil, fmt.Errorf("sending to syslog: address %q does not begin with unix://, udp://, tcp:// or tls://", c.Address)
	}
	if u.Hostname() == "" || u.Port() == "" || u.Path != "" {
		return nil, fmt.Errorf("sending to syslog: address %q is not %s://HOST:PORT", c.Address, u.Scheme)
	}
	return l, nil
}

// Syslog sends records as syslog messages whose text is the JSON document.
//
// To another host they are those of RFC 5424, over UDP one a datagram (RFC 5426), over TCP and TLS with their length in front
// (RFC 6587, RFC 5425). On a local socket they have the older header that syslog(3) gives: journald, which is
// behind /dev/log on most hosts, takes a header of RFC 5424 for text.
//
// No syslog acknowledges anything. What UDP loses is lost, and so is what a TCP server had not read when it
// died. After an error on a stream the whole batch is sent again on a new connection: some of it may come twice.
type Syslog struct {
	link     *link
	facility int
	host     string
	pid      string
	log      *slog.Logger

	shortened atomic.Uint64
	place     place // of datagrams
	buf       []byte
	scratch   []byte
}

// NewSyslog connects to nothing yet.
func NewSyslog(cfg SyslogConfig) (*Syslog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l, err := cfg.link()
	if err != nil {
		return nil, err
	}
	if cfg.Hostname == "" {
		if cfg.Hostname, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("sending to syslog: %w", err)
		}
	}
	if cfg.Facility == "" {
		cfg.Facility = "local0"
	}
	return &Syslog{link: l, facility: facilities()[cfg.Facility], host: header(cfg.Hostname), pid: strconv.Itoa(os.Getpid()), log: cfg.Log}, nil
}

// header makes a value of a header of RFC 5424 of some text: printable ASCII without spaces, at most 255, "-" if nothing is known.
func header(text string) string {
	clean := strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return -1
		}
		return c
	}, text)
	if clean == "" {
		return "-"
	}
	return clean[:min(len(clean), 255)]
}

// Shortened is how many records were too large for a datagram, and were sent as their line of text.
func (s *Syslog) Shortened() uint64 { return s.shortened.Load() }

// Deliver sends the batch.
func (s *Syslog) Deliver(ctx context.Context, batch []outbox.Record) error {
	err := s.link.use(ctx, func(conn net.Conn) error {
		if s.link.stream {
			return s.sendStream(conn, batch)
		}
		return s.sendDatagrams(conn, batch)
	})
	if err == nil {
		s.place.done()
	}
	return err
}

func (s *Syslog) sendStream(conn net.Conn, batch []outbox.Record) error {
	s.buf = s.buf[:0]
	for i := range batch {
		s.scratch = s.message(s.scratch[:0], &batch[i], document(&batch[i]))
		if s.link.network != "unix" { // there a newline ends each
			s.buf = strconv.AppendInt(s.buf, int64(len(s.scratch)), 10)
			s.buf = append(s.buf, ' ')
		}
		s.buf = append(s.buf, s.scratch...)
		if s.link.network == "unix" {
			s.buf = append(s.buf, '\n')
		}
		if len(s.buf) < writeBytes && i < len(batch)-1 {
			continue
		}
		if _, err := conn.Write(s.buf); err != nil {
			return err
		}
		s.buf = trim(s.buf)
	}
	return nil
}

func (s *Syslog) sendDatagrams(conn net.Conn, batch []outbox.Record) error {
	rest := s.place.rest(batch)
	for i := range rest {
		if err := s.sendDatagram(conn, &rest[i]); err != nil {
			return err
		}
		s.place.reached(batch, &rest[i])
	}
	return nil
}

// leastDatagram is what every receiver has to take, RFC 5426.
const leastDatagram = 480

// sendDatagram sends a record as its line of text if the document is too large: half a document would be none. The line is cut
// if it is too large as well.
func (s *Syslog) sendDatagram(conn net.Conn, r *outbox.Record) error {
	s.buf = s.message(s.buf[:0], r, document(r))
	_, err := conn.Write(s.buf)
	if !errors.Is(err, syscall.EMSGSIZE) {
		return err
	}
	if s.shortened.Add(1) == 1 {
		s.log.Warn("record is too large for a datagram, its text is sent instead; later ones are only counted",
			"sink", s.link.String(), "id", formatID(r.ID), "bytes", len(s.buf))
	}
	line := Line(*r, false)
	for _, most := range []int{len(line), 8 << 10, leastDatagram / 2} {
		s.buf = s.message(s.buf[:0], r, cut(line, most))
		if _, err = conn.Write(s.buf); !errors.Is(err, syscall.EMSGSIZE) {
			return err
		}
	}
	return err
}

// cut returns at most so many bytes, without half a character at the end.
func cut(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// Layouts of time.
const (
	microseconds = "2006-01-02T15:04:05.000000Z07:00" // the most that RFC 5424 takes
	localStamp   = time.Stamp                         // RFC 3164, in local time
)

func (s *Syslog) message(dst []byte, r *outbox.Record, text []byte) []byte {
	dst = fmt.Appendf(dst, "<%d>", s.facility*8+severity(r))
	if s.link.network == "unix" {
		dst = r.Time.Local().AppendFormat(dst, localStamp)
		dst = fmt.Appendf(dst, " bittern[%s]: ", s.pid)
		return append(dst, text...)
	}
	dst = append(dst, "1 "...)
	dst = r.Time.UTC().AppendFormat(dst, microseconds)
	dst = fmt.Appendf(dst, " %s bittern %s %s - ", s.host, s.pid, r.Kind)
	return append(dst, text...)
}

// Close closes the connection.
func (s *Syslog) Close() error { return s.link.close() }
