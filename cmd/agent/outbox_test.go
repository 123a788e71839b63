package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bittern/internal/outbox"
)

// mkoutbox is what the test's program does under this name: it opens the outbox of a directory, and does there what it is told:
//
//	reader=NAME[,KIND...]          there is such a reader; these come first
//	append=N,TIER,KIND,RULE[,SIZE] so many records, with so large documents, alike but for their times
//	ack=NAME                       the reader gets all, and acknowledges it
//	loss=CAUSE,RULE,N              so many were lost before the outbox
func mkoutbox() {
	if err := makeOutbox(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func makeOutbox(dir string, does []string) error {
	cfg := outbox.Config{Dir: dir, Quota: outbox.LeastQuota, Log: slog.New(slog.DiscardHandler)}
	for _, do := range does {
		if reader, ok := strings.CutPrefix(do, "reader="); ok {
			name, kinds, _ := strings.Cut(reader, ",")
			r := outbox.ReaderConfig{Name: name, Kinds: outbox.AllKinds}
			if kinds != "" {
				r.Kinds = 0
			}
			for _, kind := range strings.FieldsFunc(kinds, func(r rune) bool { return r == ',' }) {
				k, _ := withName(outbox.KnownKinds(), kind)
				r.Kinds |= outbox.KindsOf(k)
			}
			cfg.Readers = append(cfg.Readers, r)
		}
	}
	box, err := outbox.Open(cfg)
	if err != nil {
		return err
	}
	n := 0
	for _, do := range does {
		what, how, _ := strings.Cut(do, "=")
		args := strings.Split(how, ",")
		switch what {
		case "append":
			count, _ := strconv.Atoi(args[0])
			for range count {
				n++
				err = errors.Join(err, box.Append(numbered(n, args[1:])))
			}
		case "ack":
			r := box.Reader(args[0])
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			for {
				if _, none := r.Read(ctx); none != nil {
					break
				}
				err = errors.Join(err, r.Ack())
			}
		case "loss":
			lost, _ := strconv.ParseUint(args[2], 10, 64)
			first := started()
			err = errors.Join(err, box.Note(outbox.ID{15: byte(lost)}, outbox.Loss{
				Rule: args[1], Cause: outbox.Cause(args[0]), Count: lost, First: first, Last: first.Add(time.Hour),
			}))
		}
	}
	return errors.Join(err, box.Close(), box.Release())
}

// started is when the first record happened.
func started() time.Time { return time.Date(2020, 11, 20, 10, 0, 0, 0, time.UTC) }

// numbered is a record: its tier, kind, rule and, if it is to be put together with others, size.
func numbered(n int, args []string) outbox.Record {
	tier, _ := withName(outbox.Tiers(), args[0])
	kind, _ := withName(outbox.KnownKinds(), args[1])
	at := started().Add(time.Duration(n) * time.Second)
	r := outbox.Record{
		Kind: kind, Tier: tier, Rule: args[2], Time: at, ID: outbox.ID{0: 1, 6: 0x70, 14: byte(n >> 8), 15: byte(n)},
		JSON: fmt.Appendf(nil, `{"@timestamp":%q,"n":%d,"bittern":{"severity":%q}}`, at.Format(time.RFC3339Nano), n, tier),
		Text: fmt.Appendf(nil, "\x1b[2m%s\x1b[0m \x1b[31m%s\x1b[0m %s number %d", at.Local().Format(stampForm), tier, args[2], n),
	}
	if len(args) > 3 {
		size, _ := strconv.Atoi(args[3])
		r.Group = 1
		r.JSON = fmt.Appendf(nil, `{"n":%d,"x":"%0*d","bittern":{}}`, n, size, 0)
	}
	return r
}

// flip is what the test's program does under this name: it changes a bit of a file, or writes bytes of its own there.
func flip() {
	data, err := os.ReadFile(os.Args[1])
	at, badOffset := strconv.Atoi(os.Args[2])
	if err = errors.Join(err, badOffset); err == nil {
		data[at] ^= 0x10
		err = os.WriteFile(os.Args[1], data, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestOutboxLines(t *testing.T) {
	at := time.Date(2020, 11, 20, 10, 0, 0, 0, time.Local)
	for _, c := range []struct {
		name   string
		record outbox.Record
		colour bool
		want   string
	}{
		{"plain", outbox.Record{Text: []byte("\x1b[31mred\x1b[0m text")}, false, "red text"},
		{"coloured", outbox.Record{Text: []byte("\x1b[31mred\x1b[0m text")}, true, "\x1b[31mred\x1b[0m text"},
		{"other sequences", outbox.Record{Text: []byte("a\x1b[2Jb\x1b]0;title\x07c\nd\xffe\u202ef\x9bg\ufffdh\"'")}, true,
			`a\x1b[2Jb\x1b]0;title\ac\nd\xffe\u202ef\x9bg` + "\ufffd" + `h"'`},
		{"no text", outbox.Record{JSON: []byte("{\"a\":\n 1}")}, false, `{"a":1}`},
		{"several", outbox.Record{Text: []byte("text"), Count: 3, Last: at}, false, "x 3 until 2020-11-20 10:00:00.000 text"},
	} {
		if c.record.Count == 0 {
			c.record.Count = 1
		}
		if got := string(outboxLine(c.record, c.colour)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPrintableJSON(t *testing.T) {
	for doc, want := range map[string]string{
		`{"a":"b c"}`:                    `{"a":"b c"}`,
		"{\n  \"a\": \"é\"\n}":           "{\n  \"a\": \"é\"\n}",
		"\"\x7f\u009b\u202e\U000e0041\"": `"\u007f\u009b\u202e\udb40\udc41"`,
		"\"\xff\ufffd\"":                 `"\ufffd\ufffd"`,
	} {
		if got := string(printableJSON([]byte(doc))); got != want {
			t.Errorf("%q: got %s, want %s", doc, got, want)
		}
	}
	if got, want := string(outboxDocument(outbox.Record{Count: 1, JSON: []byte("a\x1b[2J\xff")})), `"a\u001b[2J\ufffd"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(outboxDocument(outbox.Record{Count: 2, JSON: []byte("7")})), "7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOutboxErrors(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrPermission}
	if got, want := fmt.Sprint(outboxError(denied)), "open /x: permission denied (only root and the user that the agent runs as may)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	other := errors.New("other")
	if got := outboxError(other); !errors.Is(got, other) || got.Error() != "other" {
		t.Errorf("got %s", got)
	}
}
