package merkle_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tokaworks/toka/journal/merkle"
)

func newKey(t testing.TB, name string) *merkle.Key {
	t.Helper()
	k, err := merkle.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var someHead = merkle.Head{Origin: "toka.journal/0193b5a4", Size: 42, Root: merkle.Hash{1, 2, 3}}

func TestHeadText(t *testing.T) {
	const want = "toka.journal/0193b5a4\n42\nAQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	if got := someHead.Text(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, err := merkle.ParseHead(want + "an extension\n"); err != nil || got != someHead {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "\n\n\n", "o\n42\n", want[:len(want)-1], "\n" + want,
		strings.Replace(want, "42", "042", 1), strings.Replace(want, "42", "-1", 1), strings.Replace(want, "42", "18446744073709551616", 1),
		strings.Replace(want, "AQID", "AQI", 1), strings.Replace(want, "A=", "B=", 1), strings.Replace(want, "toka", "\xff", 1),
	} {
		if h, err := merkle.ParseHead(bad); !errors.Is(err, merkle.ErrHead) {
			t.Errorf("%q reads as %+v, %v", bad, h, err)
		}
	}
}

func TestSignedHeads(t *testing.T) {
	k, other := newKey(t, "node-a"), newKey(t, "node-a")
	signed, err := k.Sign(someHead)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := merkle.Open(signed, other.Public(), k.Public()); err != nil || h != someHead {
		t.Errorf("%+v, %v", h, err)
	}
	if !bytes.HasPrefix(signed, []byte(someHead.Text()+"\n— node-a ")) {
		t.Errorf("a signed note is not the text and a signature: %q", signed)
	}
	for what, keys := range map[string][]string{"another key of the same name": {other.Public()}, "no key": nil} {
		if _, err := merkle.Open(signed, keys...); !errors.Is(err, merkle.ErrSignature) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := merkle.Open(signed, "node-a+00000000+AAAA"); !errors.Is(err, merkle.ErrKey) {
		t.Errorf("a key that is none: %v", err)
	}
	for i := range signed {
		for _, bit := range []byte{1, 0x20} {
			changed := bytes.Clone(signed)
			changed[i] ^= bit
			if h, err := merkle.Open(changed, k.Public()); err == nil && h != someHead {
				t.Errorf("byte %d was changed, and it reads as %+v", i, h)
			}
		}
	}
	if _, err := k.Sign(merkle.Head{Origin: "two\nlines"}); !errors.Is(err, merkle.ErrHead) {
		t.Errorf("an origin of two lines: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for range 50 { // some of them with a '+' in the base64
		k := newKey(t, "node-a")
		again, err := merkle.ParseKey(k.Secret() + "\n")
		if err != nil || again.Public() != k.Public() {
			t.Fatalf("%v", err)
		}
		signed, err := again.Sign(someHead)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := merkle.Open(signed, k.Public()); err != nil {
			t.Fatal(err)
		}
		if _, err := merkle.ParseKey(k.Public()); !errors.Is(err, merkle.ErrKey) {
			t.Errorf("a public key was taken for a secret one: %v", err)
		}
		if strings.Contains(k.Public(), k.Secret()) {
			t.Error("the public key tells the secret one")
		}
	}
	for _, name := range []string{"", "two words", "a+b", "line\n", "\xff"} {
		if _, err := merkle.NewKey(name); !errors.Is(err, merkle.ErrKey) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add(someHead.Text())
	f.Add("\n1\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := merkle.ParseHead(text)
		if err == nil && !strings.HasPrefix(text, h.Text()) {
			t.Errorf("%q reads as a head that is written %q", text, h.Text())
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := newKey(f, "fuzz")
	signed, err := k.Sign(someHead)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed, k.Public())
	f.Fuzz(func(t *testing.T, signed []byte, public string) {
		_, _ = merkle.Open(signed, public)
		if h, err := merkle.Open(signed, k.Public()); err == nil && h != someHead {
			t.Errorf("%q was opened as %+v", signed, h)
		}
	})
}
