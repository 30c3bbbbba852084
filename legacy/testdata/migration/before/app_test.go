package app

import (
	"reflect"
	"testing"
)

func TestStory(t *testing.T) {
	seen, err := Story(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`log {"message":"started"}`, "user.login of auth-service", "resource.updated has 1 parent"}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("saw %q, want %q", seen, want)
	}
}
