package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/require"
)

// call is a system call of 32 bits: arguments are numbers, or strings of which the address is
// given.
type call struct {
	number uint32
	args   []any
}

// programBase is where a program of staticProgram is loaded.
const programBase = 0x400000

// programHeaders is how long the headers of such a program are.
func programHeaders(class elf.Class) int {
	if class == elf.ELFCLASS32 {
		return binary.Size(elf.Header32{}) + binary.Size(elf.Prog32{})
	}
	return binary.Size(elf.Header64{}) + binary.Size(elf.Prog64{})
}

// compatProgram is a static program that makes the calls by int 0x80 and exits: with 0, or with
// the number, from 1, of the call that failed. Its code is the same for both classes of
// processes; its data lies where 32 bits suffice.
func compatProgram(t testing.TB, class elf.Class, calls []call) []byte {
	t.Helper()
	const base = programBase
	headers := programHeaders(class)
	calls = append(calls, call{1, []any{0}}) // exit
	// mov eax, ebx, ecx, edx, esi, edi
	load := []byte{0xb8, 0xbb, 0xb9, 0xba, 0xbe, 0xbf}
	const callBytes = 6*5 + 2 + 4 + 12
	data := []byte{}
	code := []byte{}
	for i, c := range calls {
		values := [6]uint32{c.number}
		for j, arg := range c.args {
			switch arg := arg.(type) {
			case int:
				values[j+1] = uint32(arg)
			case string:
				values[j+1] = uint32(base + headers + len(calls)*callBytes + len(data))
				data = append(data, arg+"\x00"...)
			}
		}
		for j, v := range values {
			code = binary.LittleEndian.AppendUint32(append(code, load[j]), v)
		}
		code = append(code, 0xcd, 0x80)             // int 0x80
		code = append(code, 0x85, 0xc0, 0x79, 12)   // test eax, eax; jns to the next call
		code = append(code, 0xb8, 1, 0, 0, 0, 0xbb) // mov eax, 1; mov ebx, i+1; int 0x80
		code = append(binary.LittleEndian.AppendUint32(code, uint32(i+1)), 0xcd, 0x80)
	}
	return staticProgram(t, class, code, data)
}

// staticProgram is an executable of one segment: the headers, the code, where it begins, and data.
func staticProgram(t testing.TB, class elf.Class, code, data []byte) []byte {
	t.Helper()
	const base = programBase
	headers := programHeaders(class)
	size := headers + len(code) + len(data)
	var b bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	flags := uint32(elf.PF_R | elf.PF_W | elf.PF_X)
	var parts []any
	if class == elf.ELFCLASS32 {
		parts = []any{
			elf.Header32{
				Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_386), Version: 1, Entry: base + uint32(headers),
				Phoff: uint32(binary.Size(elf.Header32{})), Ehsize: uint16(binary.Size(elf.Header32{})), Phentsize: uint16(binary.Size(elf.Prog32{})), Phnum: 1,
			},
			elf.Prog32{Type: uint32(elf.PT_LOAD), Vaddr: base, Paddr: base, Filesz: uint32(size), Memsz: uint32(size), Flags: flags, Align: 4096},
		}
	} else {
		parts = []any{
			elf.Header64{
				Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: base + uint64(headers),
				Phoff: uint64(binary.Size(elf.Header64{})), Ehsize: uint16(binary.Size(elf.Header64{})), Phentsize: uint16(binary.Size(elf.Prog64{})), Phnum: 1,
			},
			elf.Prog64{Type: uint32(elf.PT_LOAD), Vaddr: base, Paddr: base, Filesz: uint64(size), Memsz: uint64(size), Flags: flags, Align: 4096},
		}
	}
	for _, part := range append(parts, code, data) {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// compatStep is a call and what must be said of it.
type compatStep struct {
	call
	want string
	path bool // a hook at the end of calls says that the path is claimed
}

// compatSteps are calls in the directory dir, and with descriptor 3, which listens and has two
// connections waiting.
func compatSteps(dir string, listener *net.TCPAddr) []compatStep {
	fd := 4 // the next one to be opened
	d := func(name string) string { return filepath.Join(dir, name) }
	how := string(unsafe.Slice((*byte)(unsafe.Pointer(&unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o620})), unix.SizeofOpenHow))
	to := "\x02\x00" + string([]byte{byte(listener.Port >> 8), byte(listener.Port)}) + "\x7f\x00\x00\x01" + strings.Repeat("\x00", 8)
	accept := string(binary.LittleEndian.AppendUint32(nil, 3)) + strings.Repeat("\x00", 12)
	return []compatStep{
		{call{60, []any{0}}, "", false}, // umask
		{call{5, []any{d("seen"), unix.O_RDONLY}}, "file_open " + d("seen"), false},
		{call{6, []any{fd}}, "", false}, // close
		{call{5, []any{d("a"), unix.O_CREAT | unix.O_WRONLY, 0o640}}, "create a 0640", false},
		{call{6, []any{fd}}, "", false},
		{call{437, []any{unix.AT_FDCWD, d("b"), how, unix.SizeofOpenHow}}, "create b 0620", false},
		{call{6, []any{fd}}, "", false},
		{call{39, []any{d("d"), 0o700}}, "mkdir d 0700", true},
		{call{15, []any{d("a"), 0o4755}}, "chmod a 4755", true},
		{call{92, []any{d("a"), 5}}, "truncate a", true},
		{call{83, []any{"to where", d("s")}}, "symlink s -> to where", true},
		{call{38, []any{d("a"), d("d/a")}}, "rename a => d/a", true},
		{call{10, []any{d("d/a")}}, "unlink d/a", true},
		{call{301, []any{unix.AT_FDCWD, d("d"), unix.AT_REMOVEDIR}}, "rmdir d", true},
		{call{359, []any{unix.AF_INET, unix.SOCK_STREAM, 0}}, "", false}, // socket
		{call{362, []any{fd, to, 16}}, "connect " + listener.String(), false},
		{call{6, []any{fd}}, "", false},
		{call{102, []any{5, accept}}, "accept " + listener.String(), false}, // socketcall
		{call{6, []any{fd}}, "", false},
		{call{364, []any{3, 0, 0, 0}}, "accept " + listener.String(), false},
		{call{6, []any{fd}}, "", false},
		{call{310, []any{unix.CLONE_NEWUTS | unix.CLONE_NEWNS}}, "unshare [mnt uts]", false},
		{call{21, []any{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, 0}}, "mount /", true},
		{call{21, []any{"some source", dir, "tmpfs", 0, 0}}, "mount " + dir, true},
		{call{5, []any{"/proc/self/ns/uts", unix.O_RDONLY}}, "", false},
		{call{346, []any{fd, 0}}, "setns [uts]", false},
		{call{346, []any{fd, unix.CLONE_NEWUTS}}, "setns [uts]", false},
		{call{214, []any{1001}}, "setgid 1001", false},
		{call{213, []any{1002}}, "setuid 1002", false},
	}
}

// ofCompat says what an event of the steps was.
func ofCompat(dir string, ev *event.Event) (line string, claimed bool) {
	switch ev.Class {
	case event.FileOpen:
		return "file_open " + ev.File.Path, false
	case event.FileChange:
		return ofChange(dir, ev), ev.File.PathClaimed
	case event.NetworkConnect:
		return fmt.Sprintf("connect %s", netip.AddrPortFrom(ev.Network.Destination, ev.Network.Port)), false
	case event.NetworkListen:
		return fmt.Sprintf("%s %s", ev.Operation, netip.AddrPortFrom(ev.Network.Source, ev.Network.SourcePort)), false
	}
	switch ev.Operation {
	case "setuid":
		return fmt.Sprint("setuid ", ev.Privilege.UID), false
	case "setgid":
		return fmt.Sprint("setgid ", ev.Privilege.GID), false
	case "mount":
		return "mount " + ev.File.Path, ev.File.PathClaimed
	}
	return namespacesOf(ev), false
}

// TestCompatCalls makes system calls of 32 bits, in a process of 32 bits and in one of 64.
// Numbers and arguments are others than those of 64 bits.
func TestCompatCalls(t *testing.T) {
	require.Root(t)
	root := tempDir(t)
	probe := filepath.Join(root, "probe")
	if err := os.WriteFile(probe, compatProgram(t, elf.ELFCLASS32, nil), 0o700); err != nil {
		t.Fatal(err)
	}
	require.IA32(t, probe)
	k, cgroup := openForTest(t, Config{})
	hooks := make(map[event.Class]Hook)
	for class, match := range map[event.Class]string{
		event.FileOpen: "  s: {file.name: seen}", event.FileChange: "  s: {file.path|startswith: " + root + "}",
		event.NetworkConnect: anything, event.NetworkListen: anything, event.PrivilegeChange: anything,
	} {
		hooks[class] = watch(t, k, class, match)
	}
	var want []string
	for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
		dir := filepath.Join(root, class.String())
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "seen"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, runCompat(t, cgroup, class, dir, hooks)...)
	}
	var got []string
	for _, m := range drainMatches(t, k) {
		dir := filepath.Dir(m.Event.Process.Executable)
		line, claimed := ofCompat(filepath.Join(dir, filepath.Base(m.Event.Process.Executable)[len("run-"):]), m.Event)
		if claimed {
			line = "claimed: " + line
		}
		got = append(got, line)
	}
	sameLines(t, got, want)
}

// runCompat takes the steps in a process of the class, and returns what must be said of them.
func runCompat(t *testing.T, cgroup *os.File, class elf.Class, dir string, hooks map[event.Class]Hook) (want []string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range 2 {
		c, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var calls []call
	for _, step := range compatSteps(dir, listener.Addr().(*net.TCPAddr)) {
		calls = append(calls, step.call)
		switch {
		case step.want == "":
		case step.path && atCallEnd(hooks[event.FileChange]):
			want = append(want, "claimed: "+step.want)
		default:
			want = append(want, step.want)
		}
	}
	program := filepath.Join(filepath.Dir(dir), "run-"+filepath.Base(dir))
	if err := os.WriteFile(program, compatProgram(t, class, calls), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := in(cgroup, exec.Command(program))
	cmd.ExtraFiles = []*os.File{file}
	mustRun(t, cmd)
	return want
}
