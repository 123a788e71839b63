package loader

import (
	"encoding/binary"
	"fmt"
	"strings"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// Sizes of the kernel's tables, from the C header by way of the objects' BTF.
const (
	maxSlots     = int(execLimitMAX_SLOTS)
	maxGroups    = int(execLimitMAX_GROUPS)
	groupNot     = uint8(execLimitGROUP_NOT)
	slotsPerCell = slotID(execLimitSLOTS_PER_CELL)
	keyText      = int(execLimitKEY_TEXT)
	gramHashBits = int(execLimitGRAM_HASH_BITS)
	cellBits     = uint64(1)<<slotsPerCell - 1
)

// The planner and the kernel must agree on these; a mismatch does not compile.
var (
	_ [maxGroups - rules.MaxGroups]struct{}
	_ [rules.MaxGroups - maxGroups]struct{}
	_ [keyText - rules.MaxKeyBytes - 1]struct{} // and the NUL behind an Equals
)

// keyFields names the kernel's fields by event field.
var keyFields = map[event.Field]execKeyField{
	event.ProcessExecutable:                 execKeyFieldKEY_EXECUTABLE,
	event.ProcessParentExecutable:           execKeyFieldKEY_PARENT_EXECUTABLE,
	event.ProcessWorkingDirectory:           execKeyFieldKEY_CWD,
	event.ProcessCommandLine:                execKeyFieldKEY_COMMAND_LINE,
	event.ProcessParentCommandLine:          execKeyFieldKEY_PARENT_COMMAND_LINE,
	event.ProcessPID:                        execKeyFieldKEY_PID,
	event.ProcessParentPID:                  execKeyFieldKEY_PARENT_PID,
	event.ProcessArgsCount:                  execKeyFieldKEY_ARGS_COUNT,
	event.UserID:                            execKeyFieldKEY_UID,
	event.UserEffectiveID:                   execKeyFieldKEY_EUID,
	event.GroupID:                           execKeyFieldKEY_GID,
	event.ProcessExecutableTruncated:        execKeyFieldKEY_EXECUTABLE_TRUNCATED,
	event.ProcessCommandLineTruncated:       execKeyFieldKEY_ARGS_TRUNCATED,
	event.ProcessWorkingDirectoryTruncated:  execKeyFieldKEY_CWD_TRUNCATED,
	event.ProcessParentExecutableTruncated:  execKeyFieldKEY_PARENT_EXECUTABLE_TRUNCATED,
	event.ProcessParentCommandLineTruncated: execKeyFieldKEY_PARENT_ARGS_TRUNCATED,
	event.ProcessExitCode:                   execKeyFieldKEY_EXIT_CODE,
	event.ProcessExitSignal:                 execKeyFieldKEY_EXIT_SIGNAL,
	event.FilePath:                          execKeyFieldKEY_FILE_PATH,
	event.FilePathTruncated:                 execKeyFieldKEY_FILE_PATH_TRUNCATED,
	event.FileOpenRead:                      execKeyFieldKEY_OPEN_READ,
	event.FileOpenWrite:                     execKeyFieldKEY_OPEN_WRITE,
	event.FileOpenCreate:                    execKeyFieldKEY_OPEN_CREATE,
	event.FileOpenTruncate:                  execKeyFieldKEY_OPEN_TRUNCATE,
	event.DestinationPort:                   execKeyFieldKEY_DESTINATION_PORT,
}

// table says which index map a key is in.
type table uint8

const (
	textTable table = iota
	numberTable
	gramTable
)

// indexKey is a key as the index maps hold it. It is comparable, so it names the
// key on our side too.
type indexKey struct {
	table table
	// tag has the class in its upper half. Below is the in_use bit of that class: the
	// field and the way for texts, the field for numbers, the field and the length for
	// grams.
	tag    uint32
	text   string // texts: reversed for suffixes, NUL at the end of exact values
	number uint64 // numbers; grams
}

// ofClass is OF_CLASS of bpf/tables.h.
func ofClass(class event.Class, field uint32) uint32 { return uint32(class)<<16 | field }

func (k indexKey) class() uint32 { return k.tag >> 16 }
func (k indexKey) bit() uint32   { return k.tag & 0xffff }

// indexKeyOf translates a key of a plan for a class.
func indexKeyOf(class event.Class, k rules.Key) (indexKey, error) {
	field, ok := keyFields[k.Field]
	if !ok {
		return indexKey{}, fmt.Errorf("translating a key: the kernel does not know %s", k.Field)
	}
	way := func(plain, folded execKeyWay) uint32 {
		if k.Fold {
			plain = folded
		}
		return ofClass(class, uint32(field)*uint32(execKeyWayWAYS)+uint32(plain))
	}
	switch k.Kind {
	case rules.Equals:
		return indexKey{table: textTable, tag: way(execKeyWayWAY_FORWARD, execKeyWayWAY_FORWARD_FOLD), text: k.Text + "\x00"}, nil
	case rules.Prefix:
		return indexKey{table: textTable, tag: way(execKeyWayWAY_FORWARD, execKeyWayWAY_FORWARD_FOLD), text: k.Text}, nil
	case rules.Suffix:
		return indexKey{table: textTable, tag: way(execKeyWayWAY_REVERSE, execKeyWayWAY_REVERSE_FOLD), text: reverse(k.Text)}, nil
	case rules.NumberEquals:
		return indexKey{table: numberTable, tag: ofClass(class, uint32(field)), number: k.Number}, nil
	case rules.Gram:
		if len(k.Text) < 2 || len(k.Text) > 4 {
			return indexKey{}, fmt.Errorf("translating a key: a gram of %d bytes", len(k.Text))
		}
		var b [4]byte
		copy(b[:], k.Text)
		return indexKey{table: gramTable, tag: ofClass(class, uint32(field)*4+uint32(len(k.Text)-1)), number: uint64(binary.LittleEndian.Uint32(b[:]))}, nil
	}
	return indexKey{}, fmt.Errorf("translating a key: unknown kind %d", k.Kind)
}

func reverse(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}

// kernelText returns the key as the texts map wants it.
func (k indexKey) kernelText() execTextKey {
	key := execTextKey{Bits: uint32(32 + 8*len(k.text)), Tag: k.tag}
	var b [keyText]byte
	copy(b[:], k.text)
	for i := range key.Text {
		key.Text[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return key
}

// gramField is the field of a gram as the grams map wants it.
func (k indexKey) gramField() uint32 { return k.class()<<16 | k.bit()/4 }

// gramHash is gram_hash of bpf/text.h; the filter's bits are in its order.
func (k indexKey) gramHash() uint32 {
	return (uint32(k.number) ^ k.gramField()*0x85ebca6b) * 0x9e3779b1 >> (32 - gramHashBits)
}

// String shows the key for errors and dumps.
func (k indexKey) String() string {
	switch k.table {
	case textTable:
		return fmt.Sprintf("text %d:%q", k.tag, strings.TrimRight(k.text, "\x00"))
	case numberTable:
		return fmt.Sprintf("number %d:%d", k.tag, k.number)
	}
	return fmt.Sprintf("gram %d:%#x", k.tag, k.number)
}
