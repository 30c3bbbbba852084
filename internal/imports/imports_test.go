package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/tokaworks/toka"

// Third-party modules that the table names more than once, or whose use is restricted.
const (
	cobra       = "github.com/spf13/cobra"
	huma        = "github.com/danielgtaylor/huma/v2"
	otel        = "go.opentelemetry.io/otel"
	pflag       = "github.com/spf13/pflag"
	gonum       = "gonum.org/v1/gonum"
	pebble      = "github.com/cockroachdb/pebble/v2"
	prometheus  = "github.com/prometheus/client_golang"
	progressbar = "github.com/schollz/progressbar/v3"
	protoactor  = "github.com/asynkron/protoactor-go"
	tint        = "github.com/lmittmann/tint"
	yaml        = "go.yaml.in/yaml/v3"
)

// row says what the files of one package may import, besides the standard library.
type row struct {
	pkg        string   // below the module's path
	internal   []string // packages of the module, written likewise
	thirdParty []string // with all that lies below them
}

// table has a row for every package of the module, lowest first: a package imports only
// what stands above it. The linter's configuration holds the same lists, for editors.
var table = []row{
	{"events", nil, []string{"github.com/google/uuid", "github.com/zeebo/blake3"}},
	{"events/bus", []string{"events"}, nil},
	{"events/bus/bustest", []string{"events", "events/bus"}, nil},
	{"intent", []string{"events"}, nil},
	{"internal/kernel", nil, []string{"golang.org/x/sys/cpu"}},
	{"internal/nearest", []string{"internal/kernel"}, nil},
	{"internal/quality", []string{"internal/kernel"}, nil},
	{"intent/cluster", []string{"events", "intent", "internal/kernel", "internal/nearest"}, nil},
	{"intent/openai", []string{"intent"}, nil},
	{"intent/static", []string{"intent"}, []string{"golang.org/x/text/unicode/norm"}},
	{"supervisor", []string{"events"}, nil},
	{"internal/authority", nil, nil},
	{"internal/disk", nil, []string{pebble + "/vfs"}},
	{"internal/disk/disktest", []string{"internal/disk"}, []string{pebble + "/vfs"}},
	{"internal/yardstick", []string{"internal/disk"}, []string{pebble}},
	{"internal/yardstick/bare", nil, []string{protoactor}},
	{"internal/cloudevents", []string{"events"}, nil},
	{"journal/merkle", nil, []string{"golang.org/x/mod/sumdb/note", "golang.org/x/mod/sumdb/tlog"}},
	{"journal", []string{"events", "intent", "internal/authority", "internal/disk", "internal/kernel", "journal/merkle"}, []string{pebble, "github.com/google/uuid", "github.com/zeebo/blake3", "golang.org/x/crypto/chacha20poly1305"}},
	{"journal/causal", []string{"journal"}, nil},
	{"journal/bundle", []string{"events", "intent", "internal/authority", "journal", "journal/merkle"}, []string{"github.com/zeebo/blake3"}},
	{"journal/consumer", []string{"events", "intent", "internal/authority", "journal"}, nil},
	{"journal/projection", []string{"events", "journal"}, nil},
	{"actors", []string{"events", "supervisor", "internal/authority", "journal"}, []string{protoactor}},
	{"internal/turns", nil, nil},
	{"actors/actorstest", []string{"events", "supervisor", "internal/turns", "journal", "actors"}, nil},
	{"simulations", []string{"internal/authority", "internal/disk", "internal/disk/disktest", "internal/turns", "events", "intent", "intent/cluster", "supervisor", "journal", "actors"}, nil},
	{"node/internal/shop", []string{"events", "supervisor", "actors"}, nil},
	{"node/internal/server/auth", []string{"events"}, nil},
	{"node/internal/metrics", []string{"events", "journal", "journal/consumer", "actors"}, []string{prometheus}},
	{"node/internal/server", []string{"node/internal/server/auth", "internal/cloudevents", "events", "intent", "journal", "journal/merkle", "journal/causal", "journal/consumer", "actors"}, []string{huma}},
	{"node", []string{
		"node/internal/shop",
		"node/internal/server",
		"node/internal/server/auth",
		"node/internal/metrics",
		"internal/cloudevents",
		"internal/yardstick",
		"internal/yardstick/bare",
		"internal/kernel",
		"internal/nearest",
		"internal/quality",
		"events",
		"events/bus",
		"intent",
		"intent/cluster",
		"intent/openai",
		"intent/static",
		"supervisor",
		"internal/disk",
		"journal/merkle",
		"journal",
		"journal/bundle",
		"journal/causal",
		"journal/consumer",
		"actors",
		"simulations",
	}, []string{
		cobra,
		gonum,
		pflag,
		progressbar,
		tint,
		yaml,
	}},
	{"cmd/toka-node", []string{"actors", "node"}, nil},
	{"tracing", []string{"events", "journal"}, []string{otel}},
	{"journal/eventbus", []string{"events", "events/bus", "journal"}, nil},
	{"legacy", []string{"events", "events/bus", "journal", "journal/eventbus"}, []string{"github.com/zeebo/blake3"}},
	{"examples/slicebus", []string{"events", "events/bus"}, nil},
	{"examples/hello", []string{"events", "journal", "actors"}, nil},
	{"examples/ownnode", []string{"events", "actors", "node"}, nil},
	{"internal/docs", nil, nil},
	{"internal/compat", nil, nil},
	{"internal/imports", nil, nil},
}

// public lists the packages whose doc.go is a charter.
var public = []string{
	"events",
	"events/bus",
	"events/bus/bustest",
	"journal/eventbus",
	"legacy",
	"intent",
	"intent/cluster",
	"intent/openai",
	"intent/static",
	"supervisor",
	"journal",
	"journal/bundle",
	"journal/causal",
	"journal/merkle",
	"journal/consumer",
	"journal/projection",
	"actors",
	"actors/actorstest",
	"simulations",
	"node",
	"tracing",
}

// listed is what the tests need of go list's answer.
type listed struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	Deps       []string
}

// source is one parsed Go file that is not a test.
type source struct {
	pkg  string // below the module's path
	name string
	file *ast.File
}

// tree is the module as it stands.
type tree struct {
	root    string
	fset    *token.FileSet
	pkgs    map[string]listed // by import path, dependencies included
	own     []string          // packages of the module, below its path
	sources []source          // for all systems, unlike go list's choice of files
}

// load reads the tree once: asking go list costs more than all the tests together.
var load = sync.OnceValues(func() (*tree, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	// -e: a package that does not build is for the compiler to report, not for us.
	cmd := exec.Command("go", "list", "-e", "-deps", "-buildvcs=false", "-json=ImportPath,Name,Dir,Standard,Deps", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	t := &tree{root: root, fset: token.NewFileSet(), pkgs: make(map[string]listed)}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		t.pkgs[p.ImportPath] = p
		rel, ok := below(p.ImportPath, module)
		if !ok || p.Dir == "" {
			continue
		}
		t.own = append(t.own, rel)
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(t.fset, f, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			t.sources = append(t.sources, source{rel, filepath.Base(f), parsed})
		}
	}
	return t, nil
})

func open(t *testing.T) *tree {
	t.Helper()
	tr, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// below reports whether path is base or lies below it, and what follows base.
func below(path, base string) (rest string, ok bool) {
	if path == base {
		return "", true
	}
	return strings.CutPrefix(path, base+"/")
}

// std reports whether path is in the standard library, whose paths have no host name.
func std(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser has accepted it
	}
	return p
}

func TestDirection(t *testing.T) {
	rows := make(map[string]row)
	for _, r := range table {
		for _, pkg := range r.internal {
			if _, ok := rows[pkg]; !ok {
				t.Errorf("table: %s may import %s, which does not stand above it", r.pkg, pkg)
			}
		}
		rows[r.pkg] = r
	}

	tr := open(t)
	for _, pkg := range tr.own {
		if _, ok := rows[pkg]; !ok {
			t.Errorf("package %s has no row: add one to the table here, and a rule to .golangci.yml", pkg)
		}
	}
	for _, src := range tr.sources {
		r, ok := rows[src.pkg]
		if !ok {
			continue
		}
		for _, spec := range src.file.Imports {
			path := importPath(spec)
			if std(path) {
				continue
			}
			if own, ok := below(path, module); ok {
				if !slices.Contains(r.internal, own) {
					t.Errorf("%s: %s may not import %s", tr.fset.Position(spec.Pos()), src.pkg, own)
				}
				continue
			}
			if !slices.ContainsFunc(r.thirdParty, func(base string) bool { _, ok := below(path, base); return ok }) {
				t.Errorf("%s: %s may not import the third-party package %s", tr.fset.Position(spec.Pos()), src.pkg, path)
			}
		}
	}
}

func TestActorLibrary(t *testing.T) {
	var files []string
	for _, src := range open(t).sources {
		if src.pkg == "internal/yardstick/bare" {
			continue // it is what Toka's actors are measured beside
		}
		for _, spec := range src.file.Imports {
			if _, ok := below(importPath(spec), protoactor); ok {
				files = append(files, src.pkg+"/"+src.name)
				break
			}
		}
	}
	if len(files) > 2 {
		t.Errorf("%d files import the actor library, want at most 2: %v", len(files), files)
	}
	for _, f := range files {
		if ok, _ := filepath.Match("actors/proto*.go", f); !ok {
			t.Errorf("%s imports the actor library, which is for actors/proto*.go only", f)
		}
	}
}

func TestOptional(t *testing.T) {
	tr := open(t)
	// tint is missing here: the actor library links it whatever we do.
	optional := []string{cobra, huma, gonum, progressbar, module + "/intent/cluster", module + "/intent/static", module + "/simulations", module + "/node", module + "/tracing"}
	programs := []string{"examples/hello", "examples/slicebus", "legacy"} // these too
	for _, pkg := range append(programs, public...) {
		if slices.Contains([]string{"intent/cluster", "intent/static", "simulations", "node", "tracing"}, pkg) {
			continue // what is optional
		}
		if tr.pkgs[module+"/"+pkg].Deps == nil {
			t.Errorf("go list does not know what %s depends on", pkg)
		}
		for _, dep := range tr.pkgs[module+"/"+pkg].Deps {
			for _, base := range optional {
				if _, ok := below(dep, base); ok {
					t.Errorf("%s depends on %s, which is optional", pkg, dep)
				}
			}
		}
	}
}

func TestSignatures(t *testing.T) {
	tr := open(t)
	aliases := make(map[string]map[string]alias) // by package, then by name
	for _, src := range tr.sources {
		aliases[src.pkg] = make(map[string]alias)
	}
	for _, src := range tr.sources {
		ast.Inspect(src.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Assign.IsValid() {
				aliases[src.pkg][spec.Name.Name] = alias{spec.Type, tr.foreign(src.file)}
			}
			return true
		})
	}
	for _, src := range tr.sources {
		if strings.HasPrefix(src.pkg, "cmd/") || strings.Contains("/"+src.pkg+"/", "/internal/") {
			continue
		}
		s := surface{tr.foreign(src.file), aliases[src.pkg], func(pos token.Pos, path string) {
			t.Errorf("%s: an exported declaration mentions the third-party package %s", tr.fset.Position(pos), path)
		}}
		for _, decl := range src.file.Decls {
			s.decl(decl)
		}
	}
}

// foreign maps the names under which a file imports third-party packages to their paths.
func (tr *tree) foreign(file *ast.File) map[string]string {
	names := make(map[string]string)
	for _, spec := range file.Imports {
		path := importPath(spec)
		if _, own := below(path, module); own || std(path) {
			continue
		}
		switch {
		case spec.Name != nil:
			names[spec.Name.Name] = path
		case tr.pkgs[path].Name != "":
			names[tr.pkgs[path].Name] = path
		default: // only built for another system
			names[filepath.Base(path)] = path
		}
	}
	return names
}

// alias is another name for a type, through which a signature can mention it unseen.
type alias struct {
	expr  ast.Expr
	names map[string]string // as the file of the alias has them
}

// surface walks what a user of a package can see of one file's declarations.
type surface struct {
	names   map[string]string
	aliases map[string]alias
	report  func(pos token.Pos, path string)
}

func (s surface) decl(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
			s.expr(d.Type)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if !spec.Name.IsExported() {
					continue
				}
				if spec.TypeParams != nil {
					s.expr(spec.TypeParams)
				}
				s.expr(spec.Type)
			case *ast.ValueSpec:
				if !slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
					continue
				}
				if spec.Type != nil {
					s.expr(spec.Type)
					continue
				}
				for _, value := range spec.Values {
					s.value(value)
				}
			}
		}
	}
}

// value walks the part of a variable's value that decides its type.
func (s surface) value(value ast.Expr) {
	switch v := value.(type) {
	case *ast.UnaryExpr:
		s.value(v.X)
	case *ast.ParenExpr:
		s.value(v.X)
	case *ast.CallExpr:
		s.value(v.Fun)
	case *ast.CompositeLit:
		s.expr(v.Type)
	case *ast.FuncLit:
		s.expr(v.Type)
	case *ast.Ident, *ast.SelectorExpr, *ast.ArrayType, *ast.MapType, *ast.IndexExpr:
		s.expr(v)
	}
}

func (s surface) expr(expr ast.Node) {
	ast.Inspect(expr, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			s.members(n.Fields)
			return false
		case *ast.InterfaceType:
			s.members(n.Methods)
			return false
		case *ast.Field: // not its names: they are no types
			s.expr(n.Type)
			return false
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && s.names[id.Name] != "" {
				s.report(n.Pos(), s.names[id.Name])
			}
			return false
		case *ast.Ident:
			if a, ok := s.aliases[n.Name]; ok {
				surface{a.names, nil, func(_ token.Pos, path string) { s.report(n.Pos(), path) }}.expr(a.expr)
			}
		}
		return true
	})
}

// members walks exported fields or methods, and embedded types.
func (s surface) members(list *ast.FieldList) {
	for _, f := range list.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			s.expr(f.Type)
		}
	}
}

func exportedReceiver(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Example|Benchmark)[A-Z_][A-Za-z0-9_]*\b`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example|Benchmark)[A-Za-z0-9_]*)\(`)
)

func TestCharters(t *testing.T) {
	tr := open(t)
	tests := make(map[string]bool)
	for _, pkg := range tr.own {
		files, err := filepath.Glob(filepath.Join(tr.pkgs[path.Join(module, pkg)].Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range testFunc.FindAllSubmatch(text, -1) {
				tests[string(m[1])] = true
			}
		}
	}

	charters := make(map[string]*ast.File)
	for _, src := range tr.sources {
		if src.name == "doc.go" {
			charters[src.pkg] = src.file
		}
	}
	for _, pkg := range public {
		if !slices.Contains(tr.own, pkg) {
			continue
		}
		if charters[pkg] == nil {
			t.Errorf("package %s has no doc.go", pkg)
			continue
		}
		// Doc is nil where a blank line cuts the comment off from the package clause.
		for _, want := range []string{"Guarantees", "does not"} {
			if !strings.Contains(charters[pkg].Doc.Text(), want) {
				t.Errorf("%s/doc.go: the package comment does not contain %q", pkg, want)
			}
		}
	}
	for pkg, file := range charters {
		for _, name := range testName.FindAllString(file.Doc.Text(), -1) {
			if !tests[name] {
				t.Errorf("%s/doc.go names %s, which no test file has", pkg, name)
			}
		}
	}
}

func TestNeutral(t *testing.T) {
	// In two parts, so that this file passes.
	words := []string{"proxy." + "golang.org", "/work" + "/"}

	tr := open(t)
	// A checkout owned by another user is as good as any to read.
	cmd := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = tr.root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs git and a checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if path.Base(name) == "go.sum" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(tr.root, name))
		if errors.Is(err, fs.ErrNotExist) { // deleted, not yet committed
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			for _, word := range words {
				if bytes.Contains(line, []byte(word)) {
					t.Errorf("%s:%d: contains %q", name, i+1, word)
				}
			}
		}
	}
}
