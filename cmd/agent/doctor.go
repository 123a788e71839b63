package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bittern/internal/agent"
	"bittern/internal/loader"
)

const doctorLong = `Load and attach everything for a moment, and say what works on this host: the
hook that gives the events of each class, what it does not see, why the better
ones were not taken, and at the end what to do about it. Rules of a class without
a hook are refused. Nothing is recorded.

It exits with 1 if the agent can't run here.`

func newDoctor(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "say what works on this host, and what does not",
		Long:  doctorLong,
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			report, err := loader.Examine(loader.Config{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			if output == "json" {
				err = writeJSON(a.out, agent.DoctorOf(report))
			} else {
				writeReport(a.out, report)
			}
			if err == nil && report.Problem != nil {
				err = errReported
			}
			return err
		},
	}
	addOutput(cmd, &output, "`form` of the report: text or json")
	return cmd
}

func writeReport(w io.Writer, r loader.Report) {
	row := func(name, value string) { fmt.Fprintf(w, "%-16s %s\n", name, value) }
	row("kernel", r.Kernel+" "+r.Machine+" (needs "+loader.Needs+")")
	row("BTF", yesNo(r.BTF, "yes", "no: build the kernel with CONFIG_DEBUG_INFO_BTF"))
	switch {
	case r.LSMs == nil:
		row("LSMs", "not known: /sys/kernel/security/lsm can't be read")
	case slices.Contains(r.LSMs, "bpf"):
		row("LSMs", strings.Join(r.LSMs, ", "))
	default:
		row("LSMs", strings.Join(r.LSMs, ", ")+"; with bpf it would be lsm="+strings.Join(append(slices.Clone(r.LSMs), "bpf"), ","))
	}
	row("capabilities", yesNo(len(r.Missing) == 0, "all there", "missing: "+strings.Join(r.Missing, ", ")))
	for _, h := range r.Hooks {
		row(h.Class.String(), cmp.Or(h.Name, "no hook: rules of this class are refused"))
		if h.Misses != "" {
			row("", "misses: "+h.Misses)
		}
		for _, refused := range h.Refused {
			row("", "not "+refused.Name+": "+refused.Reason)
		}
	}
	if r.Problem != nil {
		row("problem", r.Problem.Error())
	}
	name := "to do"
	for _, remedy := range remedies(r.Hooks) {
		row(name, remedy)
		name = ""
	}
}

// remedies lists what would make better hooks work, each with the classes that it is
// good for.
func remedies(hooks []loader.Hook) []string {
	var order []string
	classes := make(map[string][]string)
	for _, h := range hooks {
		for _, refused := range h.Refused {
			if refused.Remedy == "" {
				continue
			}
			if classes[refused.Remedy] == nil {
				order = append(order, refused.Remedy)
			}
			if class := h.Class.String(); !slices.Contains(classes[refused.Remedy], class) {
				classes[refused.Remedy] = append(classes[refused.Remedy], class)
			}
		}
	}
	for i, remedy := range order {
		order[i] = "for " + strings.Join(classes[remedy], ", ") + ": " + remedy
	}
	return order
}

func yesNo(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
