package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/loader/harness"
	"bittern/internal/require"
	"bittern/internal/rules"
)

// loadForTest loads the maps and programs without attaching anything.
func loadForTest(t testing.TB, cfg Config) *Kernel {
	t.Helper()
	require.Kernel(t, LeastKernel)
	require.BPF(t)
	cfg.Log = slog.New(slog.DiscardHandler)
	if err := errors.Join(cfg.Validate(), CheckCapabilities()); err != nil {
		t.Fatal(err)
	}
	k, err := load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// court judges events with the real matching engine over the maps of a kernel, by
// BPF_PROG_RUN. For judge, each CPU has a trial of its own.
type court struct {
	objects harness.HarnessObjects
	trials  []byte
	stride  int
	close   func() // at the end of the test at the latest
}

func newCourt(t testing.TB, k *Kernel) *court {
	t.Helper()
	spec, err := harness.LoadHarness()
	if err != nil {
		t.Fatal(err)
	}
	shared := map[string]*ebpf.Map{
		"control": k.maps.Control, "slots": k.maps.Slots, "no_group": k.maps.NoGroup,
		"rows": k.maps.Rows, "row_hits": k.maps.RowHits, "cells": k.maps.Cells, "filters": k.maps.Filters,
		"texts": k.maps.Texts, "numbers": k.maps.Numbers, "grams": k.maps.Grams,
	}
	for name, m := range shared {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	if err := spec.Variables["class_slots"].Set(uint32(len(k.slots[0].uses))); err != nil {
		t.Fatal(err)
	}
	cpus := ebpf.MustPossibleCPU()
	spec.Maps["trials"].MaxEntries = uint32(max(cpus, tortureKinds))
	spec.Maps["tallies"].MaxEntries = uint32(cpus)
	spec.Maps["workspaces"].MaxEntries = uint32(cpus) * uint32(execLimitCPU_WORKSPACES)
	if err := plainAtomics(spec); err != nil {
		t.Fatal(err)
	}
	c := &court{stride: (int(unsafe.Sizeof(harness.HarnessTrial{})) + 7) &^ 7}
	if err := spec.LoadAndAssign(&c.objects, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		t.Fatalf("%+v", err)
	}
	w, err := mapWords(c.objects.Trials)
	if err != nil {
		t.Fatal(err)
	}
	c.trials = w.mem
	c.close = sync.OnceFunc(func() {
		if err := errors.Join(w.unmap(), c.objects.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.close)
	return c
}

// trial is the memory of one trial.
func (c *court) trial(n int) *harness.HarnessTrial {
	return (*harness.HarnessTrial)(unsafe.Pointer(&c.trials[n*c.stride]))
}

// pin keeps the goroutine on one CPU until the returned function is called.
func pin(t testing.TB, cpu int) (unpin func()) {
	t.Helper()
	runtime.LockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	}
}

// file puts an event into a trial as the hook would, and returns the bytes of the record.
func (c *court) file(n int, ev *event.Event) []byte {
	tr := c.trial(n)
	var rec execRecord
	rec.Header.Class = uint16(ev.Class)
	rec.Pid, rec.ParentPid = ev.Process.PID, ev.Parent.PID
	rec.Uid, rec.Euid, rec.Gid, rec.Egid = ev.User.ID, ev.User.EffectiveID, ev.User.GID, ev.User.EffectiveGID
	rec.ArgsCount = ev.Process.ArgsCount
	rec.ExitCode = ev.Exit.Code<<8 | ev.Exit.Signal
	rec.Operation = uint8(codeOf(ev, event.FileOperation, event.NetworkOperation, event.PrivilegeOperation, event.KernelOperation))
	rec.Mode, rec.FileUid, rec.FileGid = ev.File.Mode, ev.File.UID, ev.File.GID
	rec.Port, rec.SourcePort = ev.Network.Port, ev.Network.SourcePort
	rec.Family, rec.Address = addressOf(ev.Network.Destination)
	rec.SourceFamily, rec.Source = addressOf(ev.Network.Source)
	rec.Transport = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[ev.Network.Transport]
	p := ev.Privilege
	rec.NewUid, rec.NewEuid, rec.NewGid = p.UID, p.EUID, p.GID
	rec.Capabilities, rec.Namespaces, rec.TargetPid = p.Capabilities, p.Namespaces, p.TargetPID
	rec.KernelType = uint32(codeOf(ev, event.KernelType))
	for _, f := range []struct {
		set  bool
		flag execRecordFlag
	}{
		{ev.Process.Script != "", execRecordFlagRECORD_SCRIPT},
		{ev.Process.ExecutableDeleted, execRecordFlagRECORD_EXECUTABLE_DELETED},
		{ev.Process.ExecutableMemfd, execRecordFlagRECORD_EXECUTABLE_MEMFD},
		{ev.File.PathClaimed, execRecordFlagRECORD_PATH_CLAIMED},
		{ev.File.NewPathTruncated, execRecordFlagRECORD_NEW_PATH_TRUNCATED},
		{ev.File.ModeKnown, execRecordFlagRECORD_MODE_KNOWN},
		{ev.Process.ExecutableTruncated, execRecordFlagRECORD_EXECUTABLE_TRUNCATED},
		{ev.Process.CommandLineTruncated, execRecordFlagRECORD_ARGS_TRUNCATED},
		{ev.Process.WorkingDirectoryTruncated, execRecordFlagRECORD_CWD_TRUNCATED},
		{ev.Parent.ExecutableTruncated, execRecordFlagRECORD_PARENT_EXECUTABLE_TRUNCATED},
		{ev.Parent.CommandLineTruncated, execRecordFlagRECORD_PARENT_ARGS_TRUNCATED},
		{ev.File.PathTruncated, execRecordFlagRECORD_FILE_PATH_TRUNCATED},
		{ev.File.Read, execRecordFlagRECORD_OPEN_READ},
		{ev.File.Write, execRecordFlagRECORD_OPEN_WRITE},
		{ev.File.Create, execRecordFlagRECORD_OPEN_CREATE},
		{ev.File.Truncate, execRecordFlagRECORD_OPEN_TRUNCATE},
	} {
		if f.set {
			rec.Header.Flags |= uint32(f.flag)
		}
	}
	data := unsafe.Slice((*byte)(unsafe.Pointer(&tr.Event.Data[0])), len(tr.Event.Data))
	put := func(s string) execSpan {
		s = s[:min(len(s), 4096)] // no longer ones are captured
		at := rec.Header.Data
		copy(data[at:], s)
		rec.Header.Data += uint32(len(s)+7) &^ 7
		return execSpan{Offset: uint16(at), Length: uint16(len(s))}
	}
	rec.Executable = put(ev.Process.Executable)
	rec.Invoked = rec.Executable
	if ev.Process.Invoked != ev.Process.Executable {
		rec.Invoked = put(ev.Process.Invoked)
	}
	rec.Cwd = put(ev.Process.WorkingDirectory)
	rec.Args = put(argsBlock(&ev.Process))
	rec.ParentExecutable = put(ev.Parent.Executable)
	rec.ParentInvoked = rec.ParentExecutable
	if ev.Parent.Invoked != ev.Parent.Executable {
		rec.ParentInvoked = put(ev.Parent.Invoked)
	}
	rec.ParentArgs = put(argsBlock(&ev.Parent))
	rec.FilePath = put(ev.File.Path)
	rec.NewPath = put(ev.File.NewPath)
	rec.TargetPath = put(ev.File.TargetPath)
	rec.TargetExecutable = put(p.TargetExecutable)
	rec.MountSource = put(p.MountSource)
	rec.MountType = put(p.MountType)
	rec.KernelName = put(ev.Kernel.Name)
	rec.CgroupPath = put(ev.CgroupPath)

	raw := unsafe.Slice((*byte)(unsafe.Pointer(&rec)), unsafe.Sizeof(rec))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&tr.Event.Record)), len(raw)), raw)
	return append(slices.Clone(raw), data[:rec.Header.Data]...)
}

// codeOf is the code of the one of the fields that the event's class has; 0 if none.
func codeOf(ev *event.Event, fields ...event.Field) uint64 {
	for _, f := range fields {
		if codes := ev.Codes(f, nil); f.In(ev.Class) && len(codes) == 1 {
			return codes[0]
		}
	}
	return 0
}

func addressOf(addr netip.Addr) (family uint8, bytes [16]byte) {
	switch {
	case addr.Is4():
		family = 4
	case addr.Is6():
		family = 6
	}
	copy(bytes[:], addr.AsSlice())
	return family, bytes
}

func argsBlock(p *event.Process) string {
	if len(p.Args) == 0 {
		return ""
	}
	block := strings.Join(p.Args, "\x00")
	if !p.CommandLineTruncated {
		block += "\x00"
	}
	return block
}

// judge runs the engine on what was filed. The goroutine must be pinned to cpu.
func (c *court) judge(t testing.TB, prog *ebpf.Program, cpu int) (epoch uint64, survivors []uint64) {
	var packet [64]byte
	if _, err := prog.Run(&ebpf.RunOptions{Data: packet[:]}); err != nil {
		t.Fatal(err)
	}
	tr := c.trial(cpu)
	n := min(int(tr.Survivors), len(tr.Versions))
	return tr.Epoch, slices.Clone(tr.Versions[:n])
}

// asCaptured returns the event as user space gets it for the record, with what only
// user space knows added.
func asCaptured(t testing.TB, raw []byte, ev *event.Event) *event.Event {
	t.Helper()
	d := decoder{bootTime: bootTime}
	got, _, _, err := d.decode(raw, recordBytes)
	if err != nil {
		t.Fatal(err)
	}
	got.User.Name = ev.User.Name
	return got
}

// parseRule compiles the one rule of a text.
func parseRule(t testing.TB, text string) *rules.Rule {
	t.Helper()
	f := rules.Parse("test.yml", []byte(text), rules.Options{})
	if len(f.Documents) != 1 || f.Documents[0].Rule == nil {
		t.Fatalf("parsing a rule: %v\n%s", f.AllProblems(), text)
	}
	return f.Documents[0].Rule
}

// ruleText is a rule with the given condition body, indented by two.
func ruleText(id string, version int, match string) string {
	return fmt.Sprintf("rule_id: %s\nrule_version: %d\nname: n\napplies_to: [process_exec]\nmatch:\n%s\nemits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n", id, version, match)
}
