package event

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// writer appends JSON to buf. Members are written in the order of the calls;
// those that are empty are left out. It is hand-made because a detection is
// encoded for every sink on the hot path, and because encoding/json would turn
// bytes that are not UTF-8 into replacement characters, which hides what an
// attacker typed.
type writer struct {
	buf     []byte
	prefix  string   // path of the object that is open, with a final dot
	escaped []string // paths of the fields with escaped bytes
}

func (w *writer) comma() {
	switch w.buf[len(w.buf)-1] {
	case '{', '[', ':':
	default:
		w.buf = append(w.buf, ',')
	}
}

func (w *writer) key(name string) {
	w.comma()
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '"', ':')
}

// object writes a member that is an object. Path, with a final dot, prefixes the
// names of its strings where they are escaped.
func (w *writer) object(name, path string, members func()) {
	before := w.prefix
	w.prefix = path
	w.key(name)
	start := len(w.buf)
	w.buf = append(w.buf, '{')
	members()
	w.buf = append(w.buf, '}')
	w.prefix = before
	if len(w.buf) == start+2 { // empty: take the key and its comma back
		w.buf = w.buf[:start-len(name)-3]
		if n := len(w.buf); w.buf[n-1] == ',' {
			w.buf = w.buf[:n-1]
		}
	}
}

// text writes a string of any bytes.
func (w *writer) text(name, value string) {
	if value == "" {
		return
	}
	w.key(name)
	escaped := !utf8.ValidString(value)
	if escaped {
		w.escaped = append(w.escaped, w.prefix+name)
	}
	w.buf = appendJSONString(w.buf, value, escaped)
}

// texts writes an array of strings of any bytes. All are escaped if one is.
func (w *writer) texts(name string, values []string) {
	if len(values) == 0 {
		return
	}
	escaped := false
	for _, v := range values {
		escaped = escaped || !utf8.ValidString(v)
	}
	if escaped {
		w.escaped = append(w.escaped, w.prefix+name)
	}
	w.key(name)
	w.buf = append(w.buf, '[')
	for _, v := range values {
		w.comma()
		w.buf = appendJSONString(w.buf, v, escaped)
	}
	w.buf = append(w.buf, ']')
}

// array writes an array of one word; nothing if it is empty.
func (w *writer) array(name, word string) {
	if word != "" {
		w.texts(name, []string{word})
	}
}

func (w *writer) number(name string, value uint64) {
	w.key(name)
	w.buf = strconv.AppendUint(w.buf, value, 10)
}

// id writes a number as a string, for identifiers that ECS keeps as keywords.
func (w *writer) id(name string, value uint64) {
	w.key(name)
	w.buf = append(w.buf, '"')
	w.buf = strconv.AppendUint(w.buf, value, 10)
	w.buf = append(w.buf, '"')
}

// knownID is id, but for NoID it writes nothing.
func (w *writer) knownID(name string, value uint32) {
	if value != NoID {
		w.id(name, uint64(value))
	}
}

func (w *writer) boolean(name string, value bool) {
	w.key(name)
	w.buf = strconv.AppendBool(w.buf, value)
}

// isTrue writes a boolean, but nothing if it is false.
func (w *writer) isTrue(name string, value bool) {
	if value {
		w.boolean(name, value)
	}
}

func (w *writer) confidence(name string, value float64) {
	w.key(name)
	w.buf = strconv.AppendFloat(w.buf, clamp(value), 'f', -1, 64)
}

// time writes an instant in UTC, with all digits that it has.
func (w *writer) time(name string, value time.Time) {
	if value.IsZero() {
		return
	}
	w.key(name)
	w.buf = append(w.buf, '"')
	w.buf = value.UTC().AppendFormat(w.buf, time.RFC3339Nano)
	w.buf = append(w.buf, '"')
}
