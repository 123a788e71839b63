package event

import (
	"errors"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Names and arguments are bytes that an attacker chooses, and output is read by
// programs and on terminals. In both forms nothing but printable characters is
// written as it is.
//
// JSON strings must be valid Unicode. A field with bytes that are not UTF-8 is
// escaped as a whole: each such byte becomes the four characters \xNN and each
// backslash two, and bittern.escaped lists the field's name, so that Unescape
// gives the bytes back. Fields that are not listed need no such step.

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string. If escaped, bytes that are not
// UTF-8 become \xNN, and backslashes are doubled to tell them apart; the caller
// must set it if s is not valid UTF-8.
func appendJSONString(dst []byte, s string, escaped bool) []byte {
	dst = append(dst, '"')
	plain := 0 // start of the part not yet written
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[plain:i]...)
			dst = appendJSONByte(dst, c, escaped)
			i++
			plain = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if (r != utf8.RuneError || size > 1) && unicode.IsPrint(r) {
			i += size
			continue
		}
		dst = append(dst, s[plain:i]...)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, '\\', '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		case r > 0xffff:
			dst = appendUTF16(dst, 0xd800+(r-0x10000)>>10)
			dst = appendUTF16(dst, 0xdc00+(r-0x10000)&0x3ff)
		default:
			dst = appendUTF16(dst, r)
		}
		i += size
		plain = i
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

func appendJSONByte(dst []byte, c byte, escaped bool) []byte {
	switch c {
	case '"':
		return append(dst, '\\', '"')
	case '\\':
		if escaped {
			return append(dst, `\\\\`...)
		}
		return append(dst, `\\`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return appendUTF16(dst, rune(c))
}

func appendUTF16(dst []byte, unit rune) []byte {
	return append(dst, '\\', 'u', hexDigits[unit>>12&15], hexDigits[unit>>8&15], hexDigits[unit>>4&15], hexDigits[unit&15])
}

// Unescape gives back the bytes of a string of a field that bittern.escaped
// lists.
func Unescape(s string) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		rest := s[i+1:]
		switch {
		case len(rest) >= 1 && rest[0] == '\\':
			out = append(out, '\\')
			i++
		case len(rest) >= 3 && rest[0] == 'x':
			b, err := strconv.ParseUint(rest[1:3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("unescaping %q: byte %d: %w", s, i, err)
			}
			out = append(out, byte(b))
			i += 3
		default:
			return "", fmt.Errorf("unescaping %q: byte %d: %w", s, i, errEscape)
		}
	}
	return string(out), nil
}

var errEscape = errors.New(`a backslash begins neither \\ nor \xNN`)

// appendTail appends text that ends a line of text: as it is, or in Go's double
// quotes if it has characters that are not printable or looks quoted itself.
func appendTail(dst []byte, s string) []byte {
	if plainText(s, false) {
		return append(dst, s...)
	}
	return strconv.AppendQuote(dst, s)
}

// appendWord appends text that others follow: it is also quoted if it has
// spaces or is empty.
func appendWord(dst []byte, s string) []byte {
	if plainText(s, true) {
		return append(dst, s...)
	}
	return strconv.AppendQuote(dst, s)
}

func plainText(s string, word bool) bool {
	if word && s == "" || s != "" && s[0] == '"' {
		return false
	}
	for i, r := range s {
		if r == ' ' && word || !unicode.IsPrint(r) {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}
