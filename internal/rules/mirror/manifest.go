// Package mirror keeps a directory of rule files like one that was published. It is the agent's side, and knows of no database: it is given
// a signed manifest, and a function to fetch what it names. What it has begun it gets to the end of, whatever dies meanwhile; so a rule
// store on the directory sees the files of one publication or of another, never of both.
package mirror

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
)

// Limits of a publication.
const (
	MaxFiles = 20000
	MaxFile  = rules.DefaultMaxBytes // bytes
	maxPages = 64
	// pageFiles is how many files a page has about, until there are as many pages as there may be.
	pageFiles = 64
	// A line of a page has at most a sum, a size, a name, two spaces and a line's end.
	maxName     = 255
	maxLine     = 64 + 7 + maxName + 3
	maxPage     = MaxFiles * maxLine
	maxManifest = 16 << 10
)

const (
	formatLine = "bittern rules 1"
	noKey      = "none"
)

// How says how an agent that has rules takes in a publication that has others.
type How string

// Whichever it is, files that differ are renamed into place, each as a whole.
const (
	Together How = "together" // as one set, which takes effect once all of it is right
	Single   How = "single"   // as the edit of one file, which may be wrong in parts; as a set if several differ
	Apart    How = "apart"    // one by one, since some are known to be wrong, and the others are not to wait for them
)

// Blob is a page or a file, by its SHA-256 in hexadecimal.
type Blob struct {
	Sum  string
	Size int64 // bytes
}

// BlobOf returns what identifies some content.
func BlobOf(data []byte) Blob { return Blob{Sum: SumOf(data), Size: int64(len(data))} }

// SumOf returns the SHA-256 in hexadecimal.
func SumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// is reports whether data is what the blob says.
func (b Blob) is(data []byte) bool { return b == BlobOf(data) }

// File is a file of a publication. Its name is that in the rules directory; those of lists begin with "lists/".
type File struct {
	Name string
	Blob
}

// Manifest is what a publisher signs.
type Manifest struct {
	Time    time.Time
	Ruleset string // the hash of the rules that the publisher has read from the files
	How     How
	KeyID   string // of the key that signs; "" for none
	Files   int
	Pages   []Blob // a file's page is by the hash of its name
}

// NewManifest makes a manifest of files, and its pages.
func NewManifest(files []File, ruleset string, how How, at time.Time) (Manifest, [][]byte) {
	count := 1
	for count < maxPages && len(files) > count*pageFiles {
		count *= 2
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	pages := make([][]byte, count)
	for _, f := range files {
		i := pageOf(f.Name, count)
		pages[i] = fmt.Appendf(pages[i], "%s %d %s\n", f.Sum, f.Size, f.Name)
	}
	m := Manifest{Time: at.UTC().Truncate(time.Second), Ruleset: ruleset, How: how, Files: len(files)}
	for _, p := range pages {
		m.Pages = append(m.Pages, BlobOf(p))
	}
	return m, pages
}

// pageOf is the page, of so many, that has a file's name.
func pageOf(name string, count int) int {
	sum := sha256.Sum256([]byte(name))
	return int(sum[0]) % count
}

// Bytes returns the manifest as it is signed.
func (m Manifest) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ntime %s\nruleset %s\ntake %s\nkey %s\nfiles %d\n", formatLine, m.Time.Format(time.RFC3339), m.Ruleset, m.How, cmp.Or(m.KeyID, noKey), m.Files)
	b.WriteString(m.content())
	return b.Bytes()
}

// Content is the SHA-256 of the lines that are about pages. It is the same for the same files.
func (m Manifest) Content() string { return SumOf([]byte(m.content())) }

func (m Manifest) content() string {
	var b strings.Builder
	for _, p := range m.Pages {
		fmt.Fprintf(&b, "page %s %d\n", p.Sum, p.Size)
	}
	return b.String()
}

// ErrFormat is that a manifest or a page is not written as it should be.
var ErrFormat = errors.New("it is not of a form that this program knows")

// ParseManifest reads a manifest, strictly: it is exactly what Bytes would write.
func ParseManifest(data []byte) (Manifest, error) {
	m, err := parseManifest(data)
	if err != nil {
		return Manifest{}, fmt.Errorf("reading a manifest of rules: %w", err)
	}
	return m, nil
}

func parseManifest(data []byte) (m Manifest, err error) {
	if len(data) > maxManifest {
		return m, fmt.Errorf("it has %d bytes, the limit is %d: %w", len(data), maxManifest, ErrFormat)
	}
	lines := strings.Split(string(data), "\n")
	if lines[0] != formatLine {
		return m, fmt.Errorf("its first line is %.40q, want %q: %w", lines[0], formatLine, ErrFormat)
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "time":
			m.Time, err = time.Parse(time.RFC3339, value)
		case "ruleset":
			m.Ruleset = value
		case "take":
			m.How = How(value)
		case "key":
			if m.KeyID = value; value == noKey {
				m.KeyID = ""
			}
		case "files":
			m.Files, err = strconv.Atoi(value)
		case "page":
			var page Blob
			sum, size, _ := strings.Cut(value, " ")
			page.Sum = sum
			page.Size, err = strconv.ParseInt(size, 10, 64)
			m.Pages = append(m.Pages, page)
		}
		if err != nil {
			return m, fmt.Errorf("line %.100q: %w", line, ErrFormat)
		}
	}
	switch {
	case m.Files > MaxFiles:
		return m, fmt.Errorf("it has %d files, the limit is %d", m.Files, MaxFiles)
	case m.How != Together && m.How != Single && m.How != Apart,
		m.Files < 0, len(m.Pages) == 0, len(m.Pages) > maxPages, !isSum(m.Ruleset),
		slices.ContainsFunc(m.Pages, func(p Blob) bool { return !isSum(p.Sum) || p.Size < 0 || p.Size > maxPage }),
		!bytes.Equal(data, m.Bytes()):
		return m, ErrFormat
	}
	return m, nil
}

func isSum(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// Accepts reports whether a file may have a name: one of the rules directory, or of lists in it.
func Accepts(name string) bool {
	return len(name) <= maxName && fsstore.Accepts(strings.TrimPrefix(name, fsstore.ListsName+"/"))
}

// parsePage reads page number i of count.
func parsePage(data []byte, i, count int) ([]File, error) {
	var files []File
	for line := range strings.Lines(string(data)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(parts) != 3 || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("line %.400q: %w", line, ErrFormat)
		}
		size, err := strconv.ParseInt(parts[1], 10, 64)
		f := File{Name: parts[2], Blob: Blob{Sum: parts[0], Size: size}}
		switch {
		case err != nil || !isSum(f.Sum) || parts[1] != strconv.FormatInt(size, 10):
			return nil, fmt.Errorf("line %.400q: %w", line, ErrFormat)
		case !Accepts(f.Name):
			return nil, fmt.Errorf("%.300q is no name of a rule file", f.Name)
		case size < 0 || size > MaxFile:
			return nil, fmt.Errorf("file %s has %d bytes, the limit is %d", f.Name, size, MaxFile)
		case pageOf(f.Name, count) != i:
			return nil, fmt.Errorf("file %s belongs on another page: %w", f.Name, ErrFormat)
		case len(files) > 0 && cmp.Compare(files[len(files)-1].Name, f.Name) >= 0:
			return nil, fmt.Errorf("file %s is out of order, or there twice: %w", f.Name, ErrFormat)
		}
		files = append(files, f)
	}
	return files, nil
}

// ReadPages returns the files of a manifest, by name. page returns the content of a page.
func (m Manifest) ReadPages(page func(Blob) ([]byte, error)) (map[string]File, error) {
	files := make(map[string]File, m.Files)
	for i, p := range m.Pages {
		data, err := page(p)
		if err == nil && !p.is(data) {
			err = fmt.Errorf("its %d bytes are not those that the manifest names", len(data))
		}
		var list []File
		if err == nil {
			list, err = parsePage(data, i, len(m.Pages))
		}
		if err != nil {
			return nil, fmt.Errorf("reading page %d of a manifest of rules: %w", i+1, err)
		}
		for _, f := range list {
			files[f.Name] = f
		}
	}
	if len(files) != m.Files {
		return nil, fmt.Errorf("reading the pages of a manifest of rules: they have %d files, the manifest says %d", len(files), m.Files)
	}
	return files, nil
}
