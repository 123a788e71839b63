package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/outbox"
	"bittern/internal/rules"
)

// recordFlags say which records are wanted.
type recordFlags struct {
	rules, kinds, tiers []string
	since, number       int
	sink                string
}

func (f *recordFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.rules, "rule", nil, "only of these rules, by `id`")
	flags.StringSliceVar(&f.kinds, "kind", nil, "only of these `kinds`: "+strings.Join(kindNames(), ", "))
	flags.StringSliceVar(&f.tiers, "tier", nil, "only of these `tiers`: "+strings.Join(tierNames(), ", "))
	flags.Var(newWhole(&f.since, 0, 0, math.MaxInt), "since", "only with this `sequence` or a later one")
	flags.StringVar(&f.sink, "sink", "", "only what the sink of this `name` has still to get")
	flags.VarP(newWhole(&f.number, 0, 0, math.MaxInt), "number", "n", "no more than so `many`, the first ones; 0 is all")
	// They fail only for flags that are not there.
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kindNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("tier", cobra.FixedCompletions(tierNames(), cobra.ShellCompDirectiveNoFileComp))
}

func kindNames() (names []string) {
	for _, k := range outbox.KnownKinds() {
		names = append(names, k.String())
	}
	return names
}

func tierNames() (names []string) {
	for _, t := range outbox.Tiers() {
		names = append(names, t.String())
	}
	return names
}

// filter makes a filter of the flags.
func (f *recordFlags) filter(cmd *cobra.Command) (filter outbox.Filter, err error) {
	filter = outbox.Filter{Rules: f.rules, Since: uint64(f.since), Reader: f.sink}
	for _, name := range f.kinds {
		k, ok := withName(outbox.KnownKinds(), name)
		if !ok {
			return filter, usagef(cmd, "unknown kind %q (%s)", name, rules.DidYouMean(name, kindNames()))
		}
		filter.Kinds |= outbox.KindsOf(k)
	}
	for _, name := range f.tiers {
		t, ok := withName(outbox.Tiers(), name)
		if !ok {
			return filter, usagef(cmd, "unknown tier %q (%s)", name, rules.DidYouMean(name, tierNames()))
		}
		filter.Tiers = append(filter.Tiers, t)
	}
	return filter, nil
}

// withName returns that of some values which has a name.
func withName[T fmt.Stringer](all []T, name string) (found T, ok bool) {
	for _, v := range all {
		if v.String() == name {
			return v, true
		}
	}
	return found, false
}

// each calls write for the records that are wanted, and says on standard error what is left out. It returns how many there were.
func (f *recordFlags) each(cmd *cobra.Command, a *app, dir string, write func(outbox.Record) error) (n int, err error) {
	filter, err := f.filter(cmd)
	if err != nil {
		return 0, err
	}
	skipped := 0
	filter.Skipped = func(outbox.Problem) { skipped++ }
	for r, err := range outbox.Records(dir, filter) {
		if err != nil {
			return n, hintSink(err)
		}
		if err := write(r); err != nil {
			return n, err
		}
		if n++; n == f.number {
			break
		}
	}
	if skipped > 0 {
		fmt.Fprintf(a.err, "bittern: %s damaged, and left out (see: bittern outbox verify)\n", plural(skipped, "place"))
	}
	if n == 0 {
		return 0, f.hintRules(a, dir)
	}
	return n, nil
}

// hintSink says which sink may have been meant.
func hintSink(err error) error {
	var unknown *outbox.UnknownReaderError
	if errors.As(err, &unknown) {
		if hint := rules.DidYouMean(unknown.Name, unknown.Known); strings.HasPrefix(hint, "did you mean") {
			return fmt.Errorf("%w (%s)", err, hint)
		}
	}
	return err
}

// hintRules says which rules have nothing in the outbox: a wrong id looks like a rule that has detected nothing.
func (f *recordFlags) hintRules(a *app, dir string) error {
	if len(f.rules) == 0 {
		return nil
	}
	known := make(map[string]bool)
	var ids []string
	for r, err := range outbox.Records(dir, outbox.Filter{}) {
		if err != nil {
			return err
		}
		if r.Rule != "" && !known[r.Rule] {
			known[r.Rule] = true
			ids = append(ids, r.Rule)
		}
	}
	for _, id := range f.rules {
		if known[id] {
			continue
		}
		text := fmt.Sprintf("no record in the outbox is of rule %q", id)
		if hint := rules.DidYouMean(id, ids); hint != "" {
			text += " (" + hint + ")"
		}
		fmt.Fprintln(a.err, "bittern: "+printable(text, false))
	}
	return nil
}

// dumped is a record in JSON.
type dumped struct {
	Seq      uint64          `json:"sequence"`
	Tier     string          `json:"tier"`
	Kind     string          `json:"kind"`
	ID       string          `json:"id"`
	Rule     string          `json:"rule,omitempty"`
	Count    uint64          `json:"count"`
	Time     time.Time       `json:"time"`
	Last     *time.Time      `json:"last,omitempty"` // of those that it stands for, if there are several
	Document json.RawMessage `json:"document"`
}

func newOutboxDump(a *app) *cobra.Command {
	s, f := newSettings(a.paths), &recordFlags{}
	var output string
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "show the records in the outbox, in their order",
		Long: `Show the records in the outbox in the order of their sequence: as JSON, an object a line
with the document and what the outbox knows of it, or as the lines that people read.
Of each filter, one of its values has to fit. What is damaged is left out.`,
		Example: `  bittern outbox dump
  bittern outbox dump --kind detection --tier critical,high --output json
  bittern outbox dump --sink elasticsearch -n 20
  bittern outbox dump --rule BT0001 --since 4711`,
		Args: noArguments,
		RunE: readingOutbox(a, s, func(cmd *cobra.Command, dir string, _ []string) error {
			out := bufio.NewWriter(a.out)
			line := dumpLine
			if output == "text" || output == "auto" && isTerminal(a.out) {
				colour := isTerminal(a.out) && wantsColour(a.env)
				line = func(r outbox.Record) ([]byte, error) { return outboxLine(r, colour), nil }
			}
			_, err := f.each(cmd, a, dir, func(r outbox.Record) error {
				text, err := line(r)
				if err == nil {
					_, err = out.Write(append(text, '\n'))
				}
				return err
			})
			return errors.Join(err, out.Flush())
		}),
	}
	f.addTo(cmd)
	addForms(cmd, &output, "`form`: text, json, or auto: text on a terminal, else json", "auto", "text", "json")
	s.addTo(cmd, "state", "config")
	return cmd
}

func dumpLine(r outbox.Record) ([]byte, error) {
	d := dumped{r.Seq, r.Tier.String(), r.Kind.String(), r.ID.String(), r.Rule, r.Count, r.Time, nil, compactJSON(r.JSON)}
	if r.Count > 1 {
		d.Last = &r.Last
	}
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("writing record %d: %w", r.Seq, err)
	}
	return printableJSON(bytes.TrimSuffix(line.Bytes(), []byte("\n"))), nil
}

func newOutboxExport(a *app) *cobra.Command {
	s, f := newSettings(a.paths), &recordFlags{}
	cmd := &cobra.Command{
		Use:   "export FILE|-",
		Short: "write the documents in the outbox to a file, as a sink would",
		Long: `Write the documents of the records in the outbox to a new file, one a line in the order of
their sequence, or with - to standard output: to bring to another place by hand what no
sink has taken. They are as in the output of "bittern run" in JSON. One that stands for
several that were put together has their number, and when the last one was, as
bittern.aggregated.count and .last. The outbox stays as it is.`,
		Example: `  bittern outbox export detections.json
  bittern outbox export --sink elasticsearch - | gzip > missing.json.gz`,
		Args: exactlyOne("a file to write, or -"),
		RunE: readingOutbox(a, s, func(cmd *cobra.Command, dir string, args []string) error {
			if args[0] == "-" {
				_, err := f.export(cmd, a, dir, a.out)
				return err
			}
			n, err := f.exportTo(cmd, a, dir, args[0])
			if err == nil {
				fmt.Fprintf(a.out, "%s written to %s\n", plural(n, "document"), args[0])
			}
			return err
		}),
	}
	f.addTo(cmd)
	s.addTo(cmd, "state", "config")
	return cmd
}

func (f *recordFlags) export(cmd *cobra.Command, a *app, dir string, to io.Writer) (int, error) {
	out := bufio.NewWriter(to)
	n, err := f.each(cmd, a, dir, func(r outbox.Record) error {
		_, err := out.Write(append(bytes.Clone(outboxDocument(r)), '\n'))
		return err
	})
	return n, errors.Join(err, out.Flush())
}

// exportTo writes to a new file, which is on the disk then. If that fails there is none.
func (f *recordFlags) exportTo(cmd *cobra.Command, a *app, dir, path string) (n int, err error) {
	if _, err := f.filter(cmd); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("writing %s: it exists (name another file, or remove this one)", path)
	} else if err != nil {
		return 0, fmt.Errorf("writing documents: %w", err)
	}
	n, err = f.export(cmd, a, dir, file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return n, err
}
