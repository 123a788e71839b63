package loader

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
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
	filterBits   = int(execLimitFILTER_BITS)
	filterText   = int(execLimitFILTER_TEXT)
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
	event.ProcessExecutable:        execKeyFieldKEY_EXECUTABLE,
	event.ProcessParentExecutable:  execKeyFieldKEY_PARENT_EXECUTABLE,
	event.ProcessWorkingDirectory:  execKeyFieldKEY_CWD,
	event.ProcessCommandLine:       execKeyFieldKEY_COMMAND_LINE,
	event.ProcessParentCommandLine: execKeyFieldKEY_PARENT_COMMAND_LINE,
	event.ProcessScript:            execKeyFieldKEY_SCRIPT,
	event.ProcessPID:               execKeyFieldKEY_PID,
	event.ProcessParentPID:         execKeyFieldKEY_PARENT_PID,
	event.ProcessArgsCount:         execKeyFieldKEY_ARGS_COUNT,
	event.UserID:                   execKeyFieldKEY_UID,
	event.UserEffectiveID:          execKeyFieldKEY_EUID,
	event.GroupID:                  execKeyFieldKEY_GID,

	event.ProcessExecutableTruncated:        execKeyFieldKEY_EXECUTABLE_TRUNCATED,
	event.ProcessExecutableDeleted:          execKeyFieldKEY_EXECUTABLE_DELETED,
	event.ProcessExecutableMemfd:            execKeyFieldKEY_EXECUTABLE_MEMFD,
	event.ProcessCommandLineTruncated:       execKeyFieldKEY_ARGS_TRUNCATED,
	event.ProcessWorkingDirectoryTruncated:  execKeyFieldKEY_CWD_TRUNCATED,
	event.ProcessParentExecutableTruncated:  execKeyFieldKEY_PARENT_EXECUTABLE_TRUNCATED,
	event.ProcessParentCommandLineTruncated: execKeyFieldKEY_PARENT_ARGS_TRUNCATED,

	event.ProcessExitCode:   execKeyFieldKEY_EXIT_CODE,
	event.ProcessExitSignal: execKeyFieldKEY_EXIT_SIGNAL,

	event.FilePath:              execKeyFieldKEY_FILE_PATH,
	event.FilePathTruncated:     execKeyFieldKEY_FILE_PATH_TRUNCATED,
	event.FilePathClaimed:       execKeyFieldKEY_PATH_CLAIMED,
	event.FileOpenRead:          execKeyFieldKEY_OPEN_READ,
	event.FileOpenWrite:         execKeyFieldKEY_OPEN_WRITE,
	event.FileOpenCreate:        execKeyFieldKEY_OPEN_CREATE,
	event.FileOpenTruncate:      execKeyFieldKEY_OPEN_TRUNCATE,
	event.FileOperation:         execKeyFieldKEY_OPERATION,
	event.FileNewPath:           execKeyFieldKEY_NEW_PATH,
	event.FileNewPathTruncated:  execKeyFieldKEY_NEW_PATH_TRUNCATED,
	event.FileTargetPath:        execKeyFieldKEY_TARGET_PATH,
	event.FileModeSetuid:        execKeyFieldKEY_MODE_SETUID,
	event.FileModeSetgid:        execKeyFieldKEY_MODE_SETGID,
	event.FileModeExecutable:    execKeyFieldKEY_MODE_EXECUTABLE,
	event.FileModeWorldWritable: execKeyFieldKEY_MODE_WORLD_WRITABLE,
	event.FileUID:               execKeyFieldKEY_FILE_UID,
	event.FileGID:               execKeyFieldKEY_FILE_GID,

	event.NetworkOperation: execKeyFieldKEY_OPERATION,
	event.SourceIP:         execKeyFieldKEY_SOURCE_IP,
	event.DestinationIP:    execKeyFieldKEY_DESTINATION_IP,
	event.SourcePort:       execKeyFieldKEY_SOURCE_PORT,
	event.DestinationPort:  execKeyFieldKEY_DESTINATION_PORT,
	event.NetworkTransport: execKeyFieldKEY_TRANSPORT,
	event.NetworkType:      execKeyFieldKEY_NETWORK_TYPE,

	event.PrivilegeOperation:        execKeyFieldKEY_OPERATION,
	event.PrivilegeCapabilities:     execKeyFieldKEY_CAPABILITY,
	event.PrivilegeNamespaces:       execKeyFieldKEY_NAMESPACE,
	event.PrivilegeTargetPID:        execKeyFieldKEY_TARGET_PID,
	event.PrivilegeTargetExecutable: execKeyFieldKEY_TARGET_EXECUTABLE,
	event.MountSource:               execKeyFieldKEY_MOUNT_SOURCE,
	event.MountType:                 execKeyFieldKEY_MOUNT_TYPE,
	event.UserChangesID:             execKeyFieldKEY_NEW_UID,
	event.UserChangesEffectiveID:    execKeyFieldKEY_NEW_EUID,
	event.UserChangesGroupID:        execKeyFieldKEY_NEW_GID,

	event.KernelOperation: execKeyFieldKEY_OPERATION,
	event.KernelName:      execKeyFieldKEY_KERNEL_NAME,
	event.KernelType:      execKeyFieldKEY_KERNEL_TYPE,
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
	text   string // texts: reversed for suffixes, NUL at the end of exact values; see bits
	bits   bool   // each byte of text, '0' or '1', is a bit of the key: networks
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
	if slices.Contains([]rules.KeyKind{rules.Prefix, rules.Suffix, rules.Gram}, k.Kind) && k.Text == "" {
		return indexKey{}, fmt.Errorf("translating a key: an empty text of %s", k.Field)
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
	case rules.InNetwork:
		return indexKey{
			table: textTable, tag: way(execKeyWayWAY_FORWARD, execKeyWayWAY_FORWARD), text: networkBits(k.Network), bits: true,
		}, nil
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

// networkBits are the bits of a network as hit_address of bpf/fields.h looks an address up:
// eight of the version, then those of the address that count.
func networkBits(n netip.Prefix) string {
	version := byte(6)
	if n.Addr().Is4() {
		version = 4
	}
	var bits strings.Builder
	for _, b := range append([]byte{version}, n.Addr().AsSlice()...) {
		fmt.Fprintf(&bits, "%08b", b)
	}
	return bits.String()[:8+n.Bits()]
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
	if k.bits {
		key.Bits = uint32(32 + len(k.text))
		for i := range len(k.text) {
			b[i/8] |= (k.text[i] - '0') << (7 - i%8)
		}
	} else {
		copy(b[:], k.text)
	}
	for i := range key.Text {
		key.Text[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return key
}

// gramField is the field of a gram as the grams map wants it.
func (k indexKey) gramField() uint32 { return k.class()<<16 | k.bit()/4 }

// gramHash is gram_hash of bpf/text.h; the filter's bits are in its order.
func (k indexKey) gramHash() uint32 {
	return (uint32(k.number) ^ k.gramField()*0x85ebca6b) * 0x9e3779b1 >> (32 - filterBits)
}

// beginning returns how many bytes of a text its filter holds, and their hash, which is
// text_hash of bpf/text.h. Of networks it holds whole bytes.
func (k indexKey) beginning() (length, hash uint32) {
	key := k.kernelText()
	n := min(filterText, int(key.Bits-32)/8)
	word := key.Text[0]
	if n < 8 {
		word &= 1<<(8*n) - 1
	}
	word = (word ^ (uint64(k.tag)*8+uint64(n))*0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93
	return uint32(n), uint32(word >> (64 - filterBits))
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
