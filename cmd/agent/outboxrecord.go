package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"bittern/internal/outbox"
	"bittern/internal/sink"
)

// outboxDocument is a record's document as a sink writes it, on one line.
func outboxDocument(r outbox.Record) []byte {
	doc, err := sink.Document(r)
	if err != nil {
		doc = r.JSON // which can't take a count
	}
	return compactJSON(doc)
}

// outboxLine is a record as a line for people; if the record has none, its document. Nothing in it can end the line or move
// the cursor, only colour it if that is wanted.
func outboxLine(r outbox.Record, colour bool) []byte {
	if len(r.Text) == 0 {
		return printableJSON(outboxDocument(r))
	}
	text := string(sink.Line(r, colour))
	if !colour {
		return []byte(escaped(text))
	}
	var line strings.Builder
	for {
		next := colourSequence.FindStringIndex(text)
		if next == nil {
			line.WriteString(escaped(text))
			return []byte(line.String())
		}
		line.WriteString(escaped(text[:next[0]]) + text[next[0]:next[1]])
		text = text[next[1]:]
	}
}

// colourSequence is an SGR sequence of ECMA-48.
var colourSequence = regexp.MustCompile("\x1b\\[[0-9;]*m")

// escaped is a text with what can't be printed escaped as in Go.
func escaped(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == '\ufffd' && !strings.HasPrefix(text[i:], "\ufffd"): // a byte that is not UTF-8
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case strconv.IsPrint(r):
			out.WriteRune(r)
		default:
			out.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return out.String()
}

// printableJSON escapes the characters of a JSON document that can't be printed. Those are all in strings.
func printableJSON(doc []byte) []byte {
	out := make([]byte, 0, len(doc))
	for _, r := range string(doc) {
		switch {
		case r == '\n' || strconv.IsPrint(r) && r != '\ufffd':
			out = append(out, string(r)...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// compactJSON puts a document on one line. One that is none becomes a string.
func compactJSON(doc []byte) json.RawMessage {
	var line bytes.Buffer
	if json.Compact(&line, doc) == nil {
		return line.Bytes()
	}
	quoted, _ := json.Marshal(string(doc)) // it never fails
	return quoted
}
