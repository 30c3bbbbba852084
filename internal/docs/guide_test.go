package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// declared holds what a package declares: "Name", "Type.Method", "Type.Field".
type declared map[string]bool

func (d declared) add(decl ast.Decl) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		name := decl.Name.Name
		if decl.Recv != nil {
			name = base(decl.Recv.List[0].Type) + "." + name
		}
		d[name] = true
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					d[n.Name] = true
				}
			case *ast.TypeSpec:
				d[s.Name.Name] = true
				var fields *ast.FieldList
				switch t := s.Type.(type) {
				case *ast.StructType:
					fields = t.Fields
				case *ast.InterfaceType:
					fields = t.Methods
				default:
					continue
				}
				for _, f := range fields.List {
					for _, n := range f.Names {
						d[s.Name.Name+"."+n.Name] = true
					}
					if len(f.Names) == 0 {
						d[s.Name.Name+" embeds "+base(f.Type)] = true
					}
				}
			}
		}
	}
}

// base returns the name of a type without pointers, packages and parameters.
func base(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.StarExpr:
		return base(x.X)
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.IndexExpr:
		return base(x.X)
	case *ast.IndexListExpr:
		return base(x.X)
	}
	return ""
}

var (
	goName   = regexp.MustCompile("`([a-z]+)\\.([A-Z]\\w*(?:\\.[A-Z]\\w*)?)`")
	makeName = regexp.MustCompile("`make ([a-z-]+)`")
	testWord = regexp.MustCompile(`\b(?:(?:Test|Fuzz|Benchmark)[A-Z]\w*|Example\w*)\b`)
	tests    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
)

// TestGuideNames holds docs/from-the-guide.md to what there is: each row names
// something of Go, or a make target, and a test; all of them exist.
func TestGuideNames(t *testing.T) {
	packages, haveTest := map[string]declared{}, map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			if err == nil && d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range tests.FindAllSubmatch(text, -1) {
				haveTest[string(m[1])] = true
			}
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if packages[file.Name.Name] == nil {
			packages[file.Name.Name] = declared{}
		}
		for _, decl := range file.Decls {
			packages[file.Name.Name].add(decl)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "from-the-guide.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| guide |") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 {
			t.Errorf("a row of %d cells, want 4: %s", len(cells), line)
			continue
		}
		names, targets := goName.FindAllStringSubmatch(cells[1], -1), makeName.FindAllStringSubmatch(cells[1], -1)
		if len(names)+len(targets) == 0 {
			t.Errorf("a row that names nothing here: %s", line)
		}
		for _, m := range names {
			pkg := packages[m[1]]
			typ, method, ok := strings.Cut(m[2], ".")
			if !pkg[m[2]] && (!ok || !inherits(packages, pkg, typ, method)) {
				t.Errorf("there is no %s.%s: %s", m[1], m[2], line)
			}
		}
		for _, m := range targets {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("the Makefile has no target %s", m[1])
			}
		}
		shown := testWord.FindAllString(cells[2], -1)
		if len(shown) == 0 {
			t.Errorf("a row that nothing shows: %s", line)
		}
		for _, name := range shown {
			if !haveTest[name] {
				t.Errorf("there is no %s: %s", name, line)
			}
		}
	}
	if rows < 50 {
		t.Errorf("found only %d rows", rows)
	}
}

// inherits reports whether a type has a method from what it embeds.
func inherits(packages map[string]declared, pkg declared, typ, method string) bool {
	for name := range pkg {
		embedded, ok := strings.CutPrefix(name, typ+" embeds ")
		if !ok {
			continue
		}
		for _, other := range packages {
			if other[embedded+"."+method] {
				return true
			}
		}
	}
	return false
}
