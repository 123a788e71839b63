package main

import (
	"fmt"
	"testing"

	"bittern/internal/bench/subject"
)

// TestCountEndsWithTheDetections counts three opens of which one was reported twice, one
// not at all, and what other rules report.
func TestCountEndsWithTheDetections(t *testing.T) {
	detections := make(chan subject.Detection, 8)
	for _, d := range []struct{ id, path, version string }{
		{numberedID, "/t/0", "1"}, {numberedID, "/t/2", "1"}, {numberedID, "/t/2", "2"},
		{"C1", "/t/1", "1"}, {numberedID, "/t/other", "9"},
	} {
		var made subject.Detection
		made.Rule.ID, made.Rule.Version, made.File.Path = d.id, d.version, d.path
		detections <- made
	}
	close(detections)
	got := count(detections, make(chan int))
	if fmt.Sprint(got) != "{map[0:1 2:2] map[1:true 2:true]}" {
		t.Errorf("got %v", got)
	}
	if o := got.against(3); o.missed != 1 || o.doubled != 1 || o.versions != 2 {
		t.Errorf("got %+v", o)
	}
}
