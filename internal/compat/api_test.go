package compat_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// update, when set, records what is there instead of comparing.
var update = os.Getenv("TOKA_UPDATE") != ""

// TestAPI holds the exported surface to docs/api.txt, so that no change of it
// goes unseen.
func TestAPI(t *testing.T) {
	packages := map[string][]string{} // declarations by package
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name != ".." && (strings.HasPrefix(name, ".") || slices.Contains([]string{"internal", "testdata", "cmd", "examples"}, name)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		decls, err := exported(path)
		packages[filepath.ToSlash(pkg)] = append(packages[filepath.ToSlash(pkg)], decls...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		decls := packages[pkg]
		slices.Sort(decls)
		fmt.Fprintf(&out, "# %s\n\n", pkg)
		for _, d := range slices.Compact(decls) { // the same name on several systems
			fmt.Fprintf(&out, "%s\n", d)
		}
		fmt.Fprintln(&out)
	}
	if len(packages) < 8 {
		t.Fatalf("found only %d packages", len(packages))
	}

	file := filepath.Join(root, "docs", "api.txt")
	if update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, now := blocks(string(want)), blocks(out.String())
	for b := range before {
		if !now[b] {
			t.Errorf("gone or changed:\n%s", b)
		}
	}
	for b := range now {
		if !before[b] {
			t.Errorf("new or changed:\n%s", b)
		}
	}
	if t.Failed() {
		t.Log("if this is meant, record it: make api")
	}
}

// blocks splits a report into declarations, each with its package.
func blocks(text string) map[string]bool {
	out, pkg, block := map[string]bool{}, "", ""
	end := func() {
		if block != "" {
			out[pkg+"\n"+block] = true
		}
		block = ""
	}
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "# "):
			end()
			pkg = line
		case strings.HasPrefix(line, "\t"), strings.HasPrefix(line, "}"), strings.HasPrefix(line, ")"), line == "\n":
			block += line
		default:
			end()
			block = line
		}
	}
	end()
	return out
}

// exported returns the exported declarations of a file, without comments,
// bodies and what is not exported.
func exported(path string) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if !ast.FileExports(file) {
		return nil, nil
	}
	var out []string
	var failed error
	text := func(node any) string {
		var b bytes.Buffer
		if err := (&printer.Config{Mode: printer.TabIndent | printer.UseSpaces, Tabwidth: 8}).Fprint(&b, fset, node); err != nil {
			failed = err
		}
		// Neither alignment nor blank lines are a change.
		return blank.ReplaceAllString(spaces.ReplaceAllString(b.String(), " "), "\n")
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Body = nil; d.Recv == nil || receiver(d.Recv.List[0].Type).IsExported() {
				out = append(out, text(d))
			}
		case *ast.GenDecl:
			kind := "" // of constants whose own line does not say
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					out = append(out, text(&ast.GenDecl{Tok: token.TYPE, Specs: []ast.Spec{s}}))
				case *ast.ValueSpec:
					if s.Type != nil {
						kind = " " + text(s.Type)
					} else if len(s.Values) > 0 {
						kind = ""
					}
					for i, name := range s.Names {
						value := ""
						if i < len(s.Values) && kind == "" {
							value = " = " + text(s.Values[i])
						}
						if d.Tok == token.VAR && strings.Contains(value, "\n") {
							value = "" // a value, not a type
						}
						if name.IsExported() {
							out = append(out, d.Tok.String()+" "+name.Name+kind+value)
						}
					}
				}
			}
		}
	}
	return out, failed
}

var spaces, blank = regexp.MustCompile(` +`), regexp.MustCompile(`\n\s*\n`)

// receiver returns the name of a method's type.
func receiver(x ast.Expr) *ast.Ident {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			return e
		case *ast.StarExpr:
			x = e.X
		case *ast.ParenExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		default:
			return ast.NewIdent("_")
		}
	}
}
