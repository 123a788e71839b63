package sink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/outbox"
)

// JournalConfig is where journald listens.
type JournalConfig struct {
	// Socket is a path; /run/systemd/journal/socket if "".
	Socket string
	// Timeout is that of sending a batch; 30 s if 0.
	Timeout time.Duration
}

// Validate says what is wrong.
func (c JournalConfig) Validate() error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("sending to journald: timeout %v is negative", c.Timeout)
	case c.Socket != "" && c.Socket[0] != '/':
		return fmt.Errorf("sending to journald: socket %q is not an absolute path", c.Socket)
	}
	return nil
}

// Journal sends records to journald, in its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL). journald does not
// acknowledge them: those in its socket are lost if the machine is.
//
// Fields: MESSAGE the line of text, PRIORITY, SYSLOG_IDENTIFIER, BITTERN_ID, BITTERN_KIND, BITTERN_RULE_ID if it is about a
// rule, BITTERN_JSON the document.
//
// github.com/coreos/go-systemd/v22/journal has the protocol, too, but with one socket for the whole process and a fixed path,
// without deadlines, and hands large entries over in unsealed files.
type Journal struct {
	link  *link
	place place
	buf   []byte
}

// NewJournal connects to nothing yet.
func NewJournal(cfg JournalConfig) (*Journal, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Socket == "" {
		cfg.Socket = "/run/systemd/journal/socket"
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	return &Journal{link: &link{network: "unix", address: cfg.Socket, timeout: cfg.Timeout}}, nil
}

// Deliver sends the batch, an entry for each record.
func (j *Journal) Deliver(ctx context.Context, batch []outbox.Record) error {
	err := j.link.use(ctx, func(conn net.Conn) error {
		socket, ok := conn.(*net.UnixConn)
		if !ok || j.link.stream {
			return errors.New("it is no socket for datagrams")
		}
		rest := j.place.rest(batch)
		for i := range rest {
			j.buf = appendEntry(trim(j.buf), &rest[i])
			if err := sendEntry(socket, j.buf); err != nil {
				return err
			}
			j.place.reached(batch, &rest[i])
		}
		return nil
	})
	if err == nil {
		j.place.done()
	}
	return err
}

func appendEntry(dst []byte, r *outbox.Record) []byte {
	dst = appendField(dst, "MESSAGE", Line(*r, false))
	dst = appendField(dst, "PRIORITY", strconv.AppendInt(nil, int64(severity(r)), 10))
	dst = appendField(dst, "SYSLOG_IDENTIFIER", []byte("bittern"))
	dst = appendField(dst, "BITTERN_ID", []byte(formatID(r.ID)))
	dst = appendField(dst, "BITTERN_KIND", []byte(r.Kind.String()))
	if r.Rule != "" {
		dst = appendField(dst, "BITTERN_RULE_ID", []byte(r.Rule))
	}
	return appendField(dst, "BITTERN_JSON", document(r))
}

// appendField uses the form that takes any value: the name, a newline, the length as 64 bits, little-endian, the value.
func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(append(dst, name...), '\n')
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	return append(append(dst, value...), '\n')
}

// sendEntry sends what is too large for a datagram as a file in memory, which is sealed, so that journald can map it.
func sendEntry(conn *net.UnixConn, entry []byte) (err error) {
	_, err = conn.Write(entry)
	if !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, syscall.ENOBUFS) {
		return err
	}
	fd, err := unix.MemfdCreate("bittern-record", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("making a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "bittern-record")
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(entry); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return fmt.Errorf("sealing a file in memory: %w", err)
	}
	return sendFile(conn, fd)
}

// sendFile sends a file descriptor and nothing else. net has no way to do that on a connected socket for datagrams.
func sendFile(conn *net.UnixConn, fd int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(socket uintptr) bool {
		sent = unix.Sendmsg(int(socket), nil, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, sent)
}

// Close closes the connection.
func (j *Journal) Close() error { return j.link.close() }
