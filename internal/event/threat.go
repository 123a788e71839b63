package event

import "slices"

// appendThreat writes threat.*, where tactics, techniques and sub-techniques are
// parallel arrays of ids and names, without repeats. Which belong together is in
// bittern.tags.
func appendThreat(w *writer, tags []Tag) {
	if len(tags) == 0 {
		return
	}
	var tactics, techniques, subs refs
	for _, t := range tags {
		tactics.add(t.Tactic)
		techniques.add(t.Technique)
		subs.add(t.SubTechnique)
	}
	w.object("threat", "threat.", func() {
		w.text("framework", "MITRE ATT&CK")
		w.object("tactic", "threat.tactic.", func() { tactics.write(w) })
		w.object("technique", "threat.technique.", func() {
			techniques.write(w)
			w.object("subtechnique", "threat.technique.subtechnique.", func() { subs.write(w) })
		})
	})
}

type refs struct{ ids, names []string }

// add notes a reference once. The id stands in for a name that is not known, so
// that the arrays stay parallel.
func (r *refs) add(ref Ref) {
	if ref.ID == "" || slices.Contains(r.ids, ref.ID) {
		return
	}
	name := ref.Name
	if name == "" {
		name = ref.ID
	}
	r.ids, r.names = append(r.ids, ref.ID), append(r.names, name)
}

func (r *refs) write(w *writer) {
	w.texts("id", r.ids)
	w.texts("name", r.names)
}

func appendTags(w *writer, tags []Tag) {
	if len(tags) == 0 {
		return
	}
	w.key("tags")
	w.buf = append(w.buf, '[')
	for _, t := range tags {
		w.comma()
		w.buf = append(w.buf, '{')
		w.text("tactic", t.Tactic.ID)
		w.text("technique", t.Technique.ID)
		w.text("subtechnique", t.SubTechnique.ID)
		w.confidence("confidence", t.Confidence)
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, ']')
}
