package sink

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"bittern/internal/outbox"
)

// ErrNotObject says that a record's document is not a JSON object, or has something else than an object as "bittern".
var ErrNotObject = errors.New("not an object")

// Document returns the record's JSON document. If the record stands for several, their number and the time of the last
// one are added to its object "bittern": {"aggregated":{"count":3,"last":"2026-11-23T16:29:01.1Z"}}; all else stays
// as and where it is. The result can share memory with the record. An error wraps ErrNotObject or is one of encoding/json.
func Document(r outbox.Record) ([]byte, error) {
	if r.Count <= 1 {
		return r.JSON, nil
	}
	added := []byte(`"aggregated":{"count":`)
	added = strconv.AppendUint(added, r.Count, 10)
	added = append(added, `,"last":"`...)
	added = r.Last.UTC().AppendFormat(added, time.RFC3339Nano)
	added = append(added, `"}`...)

	at, wrap, err := bitternEnd(r.JSON)
	if err != nil {
		return nil, fmt.Errorf("adding a count to document %s: %w", formatID(r.ID), err)
	}
	doc := make([]byte, 0, len(r.JSON)+len(added)+len(`,"bittern":{}`))
	doc = append(doc, r.JSON[:at]...)
	if !bytes.HasSuffix(bytes.TrimRight(doc, " \t\r\n"), []byte{'{'}) {
		doc = append(doc, ',')
	}
	if wrap {
		doc = append(doc, `"bittern":{`...)
	}
	doc = append(doc, added...)
	if wrap {
		doc = append(doc, '}')
	}
	return append(doc, r.JSON[at:]...), nil
}

// bitternEnd finds the end of the object "bittern" in a document. If there is none, it is to be made at the end of the document.
func bitternEnd(doc []byte) (at int, wrap bool, err error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 0, false, errors.Join(ErrNotObject, err)
	}
	found := 0
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return 0, false, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return 0, false, err
		}
		if key != "bittern" {
			continue
		}
		if value[0] != '{' {
			return 0, false, ErrNotObject
		}
		found = int(d.InputOffset()) - 1
	}
	if _, err := d.Token(); err != nil {
		return 0, false, err
	}
	if found > 0 {
		return found, false, nil
	}
	return int(d.InputOffset()) - 1, true, nil
}

// document is Document for those who have to write something: a document that cannot take a count goes without it.
func document(r *outbox.Record) []byte {
	if doc, err := Document(*r); err == nil {
		return doc
	}
	return r.JSON
}

// stampLayout is how a line of text begins.
const stampLayout = "2006-01-02 15:04:05.000"

// Line returns the record's text without the newline. If the record stands for several, that is said behind the time at which
// the text begins: "2026-11-23 16:29:01.123 x 3 until 2026-11-23 16:30:00.000 high ...". What ends the line is a command
// line, which could not be told from it. The result can share memory with the record.
func Line(r outbox.Record, colour bool) []byte {
	text := r.Text
	if !colour {
		text = plain(text)
	}
	if r.Count <= 1 {
		return text
	}
	at := afterStamp(text)
	line := append(make([]byte, 0, len(text)+64), text[:at]...)
	if at > 0 {
		line = append(line, ' ')
	}
	line = fmt.Appendf(line, "x %d until %s", r.Count, r.Last.Local().Format(stampLayout))
	if at == 0 {
		line = append(line, ' ')
	}
	return append(line, text[at:]...)
}

// afterStamp is where the time ends, with the colours around it; 0 if the text does not begin with one.
func afterStamp(text []byte) int {
	at := sgr(text)
	if len(text) < at+len(stampLayout) {
		return 0
	}
	if _, err := time.Parse(stampLayout, string(text[at:at+len(stampLayout)])); err != nil {
		return 0
	}
	at += len(stampLayout)
	return at + sgr(text[at:])
}

// sgr is the length of the SGR sequence of ECMA-48 (ESC [ ... m) that the text begins with.
func sgr(text []byte) int {
	if !bytes.HasPrefix(text, []byte("\x1b[")) {
		return 0
	}
	return bytes.IndexByte(text, 'm') + 1
}

// plain returns the text without colours.
func plain(text []byte) []byte {
	if bytes.IndexByte(text, '\x1b') < 0 {
		return text
	}
	bare := make([]byte, 0, len(text))
	for len(text) > 0 {
		if n := sgr(text); n > 0 {
			text = text[n:]
			continue
		}
		bare = append(bare, text[0])
		text = text[1:]
	}
	return bare
}

// formatID returns a UUID as text.
func formatID(id outbox.ID) string {
	b := make([]byte, 0, 36)
	for i, part := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}

// parseID reads a UUID; false if it is none.
func parseID(text string) (id outbox.ID, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(text[0:8]+text[9:13]+text[14:18]+text[19:23]+text[24:36]))
	return id, err == nil
}
