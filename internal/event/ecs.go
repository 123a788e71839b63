package event

import "time"

// ecsVersion is the release of the Elastic Common Schema whose names are used.
const ecsVersion = "8.17.0"

// AppendJSON appends the detection as one line of JSON in nested ECS form,
// without the newline that ends the line. Fields of which nothing is known are
// left out. bittern.* is what ECS has no place for; see docs/detections.md.
func (d *Detection) AppendJSON(dst []byte) []byte {
	w := writer{buf: append(dst, '{')}
	w.time("@timestamp", d.Event.Time)
	ecsHeader(&w)
	w.object("event", "event.", func() {
		category, types := d.Event.ecs()
		w.text("kind", "alert")
		w.array("category", category)
		w.texts("type", types)
		w.text("action", d.Event.Class.String())
		w.text("id", d.ID)
		w.number("sequence", d.Event.Sequence)
		if score, ok := severityScore(d.Rule.Severity); ok {
			w.number("severity", score)
		}
		w.text("module", "bittern")
		w.text("dataset", "bittern.detection")
	})
	appendRule(&w, &d.Rule)
	appendThreat(&w, d.Tags)
	appendProcess(&w, d.Event)
	appendFile(&w, d.Event)
	appendNetwork(&w, d.Event)
	w.object("user", "user.", func() {
		w.id("id", uint64(d.Event.User.ID))
		w.text("name", d.Event.User.Name)
		w.object("effective", "user.effective.", func() { w.id("id", uint64(d.Event.User.EffectiveID)) })
		appendUserChanges(&w, d.Event)
	})
	w.object("group", "group.", func() { w.id("id", uint64(d.Event.User.GID)) })
	w.object("container", "container.", func() { w.text("id", d.Event.ContainerID) })
	appendHost(&w, d.Host)
	d.appendOwn(&w)
	return append(w.buf, '}')
}

// MarshalJSON returns what AppendJSON appends.
func (d *Detection) MarshalJSON() ([]byte, error) { return d.AppendJSON(nil), nil }

func appendRule(w *writer, r *Rule) {
	w.object("rule", "rule.", func() {
		w.text("id", r.ID)
		w.id("version", uint64(max(r.Version, 0)))
		w.text("name", r.Name)
		w.text("description", r.Description)
	})
}

func ecsHeader(w *writer) {
	w.object("ecs", "ecs.", func() { w.text("version", ecsVersion) })
}

func appendProcess(w *writer, e *Event) {
	w.object("process", "process.", func() {
		appendImage(w, &e.Process)
		if e.Class == ProcessExit {
			appendExit(w, e)
		}
		if e.Parent.PID != 0 {
			w.object("parent", "process.parent.", func() { appendImage(w, &e.Parent) })
		}
	})
}

// appendExit writes the fields of process.* that a process has when it has ended.
func appendExit(w *writer, e *Event) {
	w.time("end", e.Time)
	w.number("uptime", uint64(max(e.Exit.Runtime, 0)/time.Second)) // ECS wants seconds
	if e.Exit.Signal == 0 {                                        // it has no exit code otherwise
		w.number("exit_code", uint64(e.Exit.Code))
	}
}

func appendImage(w *writer, p *Process) {
	w.number("pid", uint64(p.PID))
	w.text("entity_id", p.EntityID)
	w.text("executable", p.Executable)
	w.text("name", baseName(p.Executable))
	w.texts("args", p.Args)
	if p.ArgsCount > 0 {
		w.number("args_count", uint64(p.ArgsCount))
	}
	w.text("command_line", p.CommandLine)
	w.text("working_directory", p.WorkingDirectory)
	w.time("start", p.Start)
}

func appendHost(w *writer, h *Host) {
	if h == nil {
		return
	}
	w.object("host", "host.", func() {
		w.text("hostname", h.Hostname)
		w.text("name", h.Hostname)
		w.text("id", h.ID)
		w.text("architecture", h.Architecture)
		w.object("boot", "host.boot.", func() { w.text("id", h.BootID) })
		w.object("os", "host.os.", func() {
			w.text("type", "linux")
			w.text("platform", h.OS.Platform)
			w.text("family", h.OS.Family)
			w.text("name", h.OS.Name)
			w.text("full", h.OS.Full)
			w.text("version", h.OS.Version)
			w.text("kernel", h.OS.Kernel)
		})
	})
}

// appendOwn writes bittern.*. It comes last: it lists the escaped fields.
func (d *Detection) appendOwn(w *writer) {
	e := d.Event
	w.object("bittern", "bittern.", func() {
		if confidence, ok := d.Confidence(); ok {
			w.confidence("confidence", confidence)
		}
		w.text("state", d.State)
		w.text("severity", d.Rule.Severity)
		w.number("epoch", e.Epoch)
		w.text("rule_hash", d.Rule.Hash)
		w.number("cpu", uint64(e.CPU))
		if e.CgroupID != 0 {
			w.id("cgroup_id", e.CgroupID)
		}
		w.text("cgroup_path", e.CgroupPath)
		if e.Process.Invoked != e.Process.Executable {
			w.text("invoked", e.Process.Invoked)
		}
		w.text("script", e.Process.Script)
		w.isTrue("deleted", e.Process.ExecutableDeleted)
		w.isTrue("memfd", e.Process.ExecutableMemfd)
		appendOwnFields(w, e)
		appendTags(w, d.Tags)
		w.object("evidence", "bittern.evidence.", func() {
			for _, f := range d.Evidence {
				appendEvidence(w, e, f)
			}
		})
		w.texts("truncated", e.truncated(nil))
		w.texts("escaped", w.escaped)
	})
}

// appendOwnFields writes what the event's class has and ECS has no place for.
func appendOwnFields(w *writer, e *Event) {
	w.text("operation", e.Operation)
	switch e.Class {
	case ProcessExit:
		if e.Exit.Signal != 0 {
			w.number("exit_signal", uint64(e.Exit.Signal))
		}
	case FileOpen:
		w.texts("open", e.File.how())
	case FileChange:
		w.text("new_path", e.File.NewPath)
		w.isTrue("claimed", e.File.PathClaimed)
	case PrivilegeChange:
		appendPrivilege(w, &e.Privilege)
		w.isTrue("claimed", e.File.PathClaimed)
	case KernelChange:
		appendKernel(w, &e.Kernel)
	}
}

// appendEvidence writes the value of one field under its full name: an array if
// the field can have several values.
func appendEvidence(w *writer, e *Event, f Field) {
	info := f.Info()
	switch info.Kind {
	case String:
		values := e.Strings(f, nil)
		switch {
		case info.Many:
			w.texts(info.Name, values)
		case len(values) > 0:
			w.text(info.Name, values[0])
		}
	case Number:
		if n, ok := e.Number(f); ok {
			w.number(info.Name, n)
		}
	case Bool:
		if n, ok := e.Number(f); ok {
			w.boolean(info.Name, n != 0)
		}
	}
}
