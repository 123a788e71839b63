package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notAgent are packages, or what their names end in, that no agent runs.
var notAgent = []string{"test", "internal/require", "internal/vm", "internal/bench", "generate", "harness"}

// source is what the guide has to have, of all code that agents run.
type source struct {
	messages map[string][]string // what is logged at warn or error: its levels
	errors   []string            // exported variables and types, "loader.ErrRunning"
	parts    []string            // of the board of health
	texts    strings.Builder     // all string literals
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{messages: make(map[string][]string)}
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if slices.ContainsFunc(notAgent, func(name string) bool { return strings.HasSuffix(path, name) }) {
					return fs.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_bpfel.go") {
				return nil
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			return s.add(file)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(s.messages) < 30 || len(s.errors) < 10 || len(s.parts) < 3 {
		t.Fatalf("found only %d messages, %d errors and the parts %s", len(s.messages), len(s.errors), s.parts)
	}
	slices.Sort(s.errors)
	return s
}

func (s *source) add(file *ast.File) (err error) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, wrong := strconv.Unquote(n.Value); wrong == nil && n.Kind == token.STRING {
				s.texts.WriteString(text + "\n")
			}
		case *ast.CallExpr:
			err = s.call(n)
		}
		return err == nil
	})
	for _, decl := range file.Decls {
		s.declare(file.Name.Name, decl)
	}
	return err
}

// call notes what is logged, and what is put on the board.
func (s *source) call(call *ast.CallExpr) error {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	first, rest := call.Args[0], ""
	if sum, ok := first.(*ast.BinaryExpr); ok { // "sink "+name
		first, rest = sum.X, "NAME"
	}
	literal, ok := first.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		if f.Sel.Name == "WarnContext" || f.Sel.Name == "ErrorContext" || f.Sel.Name == "LogAttrs" {
			return fmt.Errorf("%s: log by Warn or Error, so that messages can be found", f.Sel.Name)
		}
		return nil
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return err
	}
	on, _ := f.X.(*ast.SelectorExpr)
	switch level := strings.ToLower(f.Sel.Name); {
	case (level == "warn" || level == "error") && !slices.Contains(s.messages[text], level):
		s.messages[text] = append(s.messages[text], level)
	case f.Sel.Name == "Add" && on != nil && on.Sel.Name == "board":
		s.parts = append(s.parts, text+rest)
	}
	return nil
}

// declare notes an exported error.
func (s *source) declare(pkg string, decl ast.Decl) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		if decl.Name.Name != "Error" || decl.Recv == nil || len(decl.Type.Params.List) > 0 {
			return
		}
		of := decl.Recv.List[0].Type
		if star, ok := of.(*ast.StarExpr); ok {
			of = star.X
		}
		if name, ok := of.(*ast.Ident); ok && name.IsExported() {
			s.errors = append(s.errors, pkg+"."+name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, name := range value.Names {
				if strings.HasPrefix(name.Name, "Err") {
					s.errors = append(s.errors, pkg+"."+name.Name)
				}
			}
		}
	}
}
