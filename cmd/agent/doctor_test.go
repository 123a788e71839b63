package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/agent"
	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/loader"
)

// report is that of a host where some things could be better.
var report = loader.Report{
	Kernel: "5.15.0", Machine: "x86_64", BTF: true, LSMs: []string{"capability", "yama"},
	Hooks: []loader.Hook{
		{Class: event.ProcessExec, Name: "tp_btf/sched_process_exec"},
		{
			Class: event.FileOpen, Name: "fexit/security_file_open",
			Refused: []loader.Refusal{{Name: "lsm/file_open", Reason: "bpf is not active", Remedy: "boot with bpf"}},
		},
		{
			Class: event.FileChange, Name: "tp_btf/sys_exit", Misses: "changes by io_uring",
			Refused: []loader.Refusal{
				{Name: "lsm/path_*", Reason: "bpf is not active", Remedy: "boot with bpf"},
				{Name: "fexit/security_path_*", Reason: "some fault"},
			},
		},
		{
			Class:   event.NetworkConnect,
			Refused: []loader.Refusal{{Name: "cgroup/connect4", Reason: "no cgroup2 file system is mounted", Remedy: "mount it"}},
		},
	},
}

func TestReport(t *testing.T) {
	want := `kernel           5.15.0 x86_64 (needs Linux 5.10 with BTF (CONFIG_DEBUG_INFO_BTF))
BTF              yes
LSMs             capability, yama; with bpf it would be lsm=capability,yama,bpf
capabilities     all there
process_exec     tp_btf/sched_process_exec
file_open        fexit/security_file_open
                 not lsm/file_open: bpf is not active
file_change      tp_btf/sys_exit
                 misses: changes by io_uring
                 not lsm/path_*: bpf is not active
                 not fexit/security_path_*: some fault
network_connect  no hook: rules of this class are refused
                 not cgroup/connect4: no cgroup2 file system is mounted
to do            for file_open, file_change: boot with bpf
                 for network_connect: mount it
`
	var out bytes.Buffer
	writeReport(&out, report)
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReportForPrograms(t *testing.T) {
	var out bytes.Buffer
	if err := writeJSON(&out, agent.DoctorOf(report)); err != nil {
		t.Fatal(err)
	}
	var got control.Doctor
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []control.Hook{
		{Class: "process_exec", Hook: "tp_btf/sched_process_exec", Refused: []control.Refusal{}},
		{Class: "file_open", Hook: "fexit/security_file_open", Refused: []control.Refusal{{Hook: "lsm/file_open", Reason: "bpf is not active", Remedy: "boot with bpf"}}},
		{Class: "file_change", Hook: "tp_btf/sys_exit", Misses: "changes by io_uring", Refused: []control.Refusal{
			{Hook: "lsm/path_*", Reason: "bpf is not active", Remedy: "boot with bpf"}, {Hook: "fexit/security_path_*", Reason: "some fault"},
		}},
		{Class: "network_connect", Refused: []control.Refusal{{Hook: "cgroup/connect4", Reason: "no cgroup2 file system is mounted", Remedy: "mount it"}}},
	}
	if diff := cmp.Diff(want, got.Classes); diff != "" {
		t.Error(diff)
	}
}
