package cloudevents_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
)

// with returns a line that is good but for the members given, which stand last.
func with(members string) string {
	line := `{"specversion":"1.0","id":"a1","source":"/agents/a","type":"order.placed"`
	if members != "" {
		line += "," + members
	}
	return line + "}"
}

func TestRefusals(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tokens := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "p%d ", i)
		}
		return b.String()
	}
	tests := []struct{ name, line, want string }{
		{"empty", ``, `invalid line: not a JSON object`},
		{"not JSON", `hello`, `invalid line: not a JSON object`},
		{"an array", `[]`, `invalid line: not a JSON object`},
		{"a batch", "[" + with("") + "]", `invalid line: not a JSON object`},
		{"ends in the object", `{"id":"a"`, `invalid line: not JSON at byte 10: it ends inside the object`},
		{"ends in a string", `{"id":"a`, `invalid line: not JSON at byte 9: it ends inside a string`},
		{"ends after an escape", `{"id":"a\`, `not JSON at byte 10: it ends inside a string`},
		{"ends before a value", `{"id":`, `not JSON at byte 7: it ends where a value should stand`},
		{"ends in data", strings.TrimSuffix(with(`"data":{"a":1`), "}"), `it ends inside an object or array`},
		{"ends in a number", `{"data":-`, `not JSON at byte 10: a digit should stand here`},
		{"no name", `{1:2}`, `not JSON at byte 2: a name in quotes should stand here`},
		{"no colon", `{"id" "a"}`, `not JSON at byte 7: a colon should stand here`},
		{"no comma", `{"id":"a" "b"}`, `not JSON at byte 11: a comma or } should stand here`},
		{"no comma in data", `{"data":[1 2]}`, `not JSON at byte 12: a comma or ] should stand here`},
		{"comma at the end", with(`"data":1,`), `a name in quotes should stand here`},
		{"comma at the end of data", with(`"data":[1,]`), `a value should stand here`},
		{"comma at the end of a data object", with(`"data":{"a":1,}`), `a name in quotes should stand here`},
		{"more", with("") + ` {}`, `more follows the object`},
		{"word", with(`"data":nul`), `a value should stand here`},
		{"number with leading zero", with(`"data":01`), `a comma or } should stand here`},
		{"number without fraction", with(`"data":1.`), `a digit should stand here`},
		{"number without exponent", with(`"data":1e+`), `a digit should stand here`},
		{"NaN", with(`"data":NaN`), `a value should stand here`},
		{"unknown escape", with(`"data":"\x41"`), `unknown escape in a string`},
		{"short escape", with(`"data":"\u12"`), `\u needs four hexadecimal digits`},
		{"control character", with("\"data\":\"a\tb\""), `a control character in a string must be escaped`},
		{"not UTF-8 in data", with("\"data\":\"\xff\""), `invalid line: not UTF-8 at byte 83`},
		{"not UTF-8 outside", with("") + "\xc3", `invalid line: not UTF-8`},
		{"UTF-16", "\xff\xfe{\x00}\x00", `invalid line: not UTF-8 at byte 1`},

		{"no specversion", `{"id":"a","source":"b","type":"c"}`, `invalid specversion: it is missing; write 1.0`},
		{"specversion 0.3", `{"specversion":"0.3"}`, `invalid specversion: "0.3"; only 1.0 is read`},
		{"specversion empty", `{"specversion":""}`, `invalid specversion: ""; only 1.0 is read`},
		{"specversion a number", `{"specversion":1.0}`, `invalid specversion: a number; a string is wanted`},
		{"no id", `{"specversion":"1.0","source":"b","type":"c"}`, `invalid id: it is missing`},
		{"no source", `{"specversion":"1.0","id":"a","type":"c"}`, `invalid source: it is missing`},
		{"no type", `{"specversion":"1.0","id":"a","source":"b"}`, `invalid type: it is missing`},
		{"id empty", `{"specversion":"1.0","id":"","source":"b","type":"c"}`, `invalid id: it is empty`},
		{"source empty", `{"specversion":"1.0","id":"a","source":"","type":"c"}`, `invalid source: it is empty`},
		{"type empty", `{"specversion":"1.0","id":"a","source":"b","type":""}`, `invalid type: it is empty`},
		{"id a number", `{"specversion":"1.0","id":7,"source":"b","type":"c"}`, `invalid id: a number; a string is wanted`},
		{"source an object", `{"specversion":"1.0","id":"a","source":{},"type":"c"}`, `invalid source: an object; a string is wanted`},
		{"type null", `{"specversion":"1.0","id":"a","source":"b","type":null}`, `invalid type: null; a string is wanted`},
		{"id of 10 kB", `{"specversion":"1.0","id":"` + strings.Repeat("x", 10_000) + `","source":"b","type":"c"}`, `invalid id: 10000 bytes, beginning`},
		{"id with a surrogate half", `{"specversion":"1.0","id":"\ud800","source":"b","type":"c"}`, `invalid id: half of a surrogate pair stands alone`},
		{"id with two halves", `{"specversion":"1.0","id":"\ud800\ud800","source":"b","type":"c"}`, `invalid id: half of a surrogate pair stands alone`},
		{"source with a line break", `{"specversion":"1.0","id":"a","source":"b\nc","type":"c"}`, `invalid source: "b\nc" holds a control character`},
		{"source with DEL", "{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"b\x7f\",\"type\":\"c\"}", `invalid source: "b\x7f" holds a control character`},
		{"source of the system", `{"specversion":"1.0","id":"a","source":"$system","type":"c"}`, `invalid source: "$system": streams that begin with $ belong to the system`},
		{"type of the system", `{"specversion":"1.0","id":"a","source":"b","type":"toka.agent.spawned"}`, `invalid type: "toka.agent.spawned": kinds that begin with toka. belong to the system`},
		{"type with empty token", `{"specversion":"1.0","id":"a","source":"b","type":"a..b"}`, `invalid type: "a..b" has an empty token`},

		{"twice", with(`"id":"a1"`), `invalid line: attribute "id" stands there twice`},
		{"twice by escapes", with(`"\u0069\u0064":"a2"`), `invalid line: attribute "id" stands there twice`},
		{"data twice", with(`"data":1,"d\u0061ta":2`), `attribute "data" stands there twice`},
		{"extension twice", with(`"foo":"1","f\u006fo":"2"`), `attribute "foo" stands there twice`},
		{"correlationid twice", with(`"correlationid":"","correlationid":"b"`), `attribute "correlationid" stands there twice`},
		{"surrogate half in a name", with(`"\udc00":1`), `half of a surrogate pair stands alone in a name`},

		{"time without zone", with(`"time":"2012-11-24T03:14:12"`), `invalid time: "2012-11-24T03:14:12" has no zone; add Z or an offset`},
		{"time without T", with(`"time":"2012-11-24 03:14:12Z"`), `is not in the form of RFC 3339`},
		{"time with short hour", with(`"time":"2012-11-24T3:14:12Z"`), `is not in the form of RFC 3339`},
		{"time with decimal comma", with(`"time":"2012-11-24T03:14:12,5Z"`), `is not in the form of RFC 3339`},
		{"time with long zone", with(`"time":"2012-11-24T03:14:12+24:00"`), `is not in the form of RFC 3339`},
		{"time with long zone minutes", with(`"time":"2012-11-24T03:14:12-01:60"`), `is not in the form of RFC 3339`},
		{"time on a day that is none", with(`"time":"2023-02-29T03:14:12Z"`), `is not in the form of RFC 3339`},
		{"time empty", with(`"time":""`), `invalid time: it is empty; leave it out`},
		{"time zero", with(`"time":"0001-01-01T00:00:00Z"`), `stands for no time; leave it out`},
		{"time in the year 0", with(`"time":"0001-01-01T00:00:00+01:00"`), `invalid time: year 0`},
		{"time a number", with(`"time":1353726852`), `invalid time: a number; a string is wanted`},
		{"time null", with(`"time":null`), `invalid time: null; a string is wanted`},

		{"data too large", with(`"data":"` + strings.Repeat("x", events.MaxPayload) + `"`), `invalid data: 1048578 bytes; the limit is 1048576`},
		{"decoded data too large", with(`"data_base64":"` + base64.StdEncoding.EncodeToString(make([]byte, events.MaxPayload+1)) + `"`), `invalid data: 1048577 bytes; the limit is 1048576`},
		{"data too deep", with(`"data":` + nested(65)), `invalid data: nested deeper than 64 levels`},
		{"data very deep", with(`"data":` + strings.Repeat(`{"a":`, 500_000)), `invalid data: nested deeper than 64 levels`},
		{"both data", with(`"data":1,"data_base64":"MQ=="`), `invalid data: data and data_base64 are both given; leave one out`},
		{"data text with a surrogate half", with(`"datacontenttype":"text/plain","data":"\ud800"`), `invalid data: half of a surrogate pair stands alone`},
		{"base64 without padding", with(`"data_base64":"MQ"`), `invalid data_base64: not base64 with padding`},
		{"base64 for URLs", with(`"data_base64":"_-__"`), `invalid data_base64: not base64 with padding`},
		{"base64 with a line break", with(`"data_base64":"MQ=\n="`), `invalid data_base64: not base64: it holds a line break`},
		{"base64 a number", with(`"data_base64":1`), `invalid data_base64: a number; a string is wanted`},
		{"content type empty", with(`"datacontenttype":""`), `invalid datacontenttype: it is empty; leave it out`},
		{"content type long", with(`"datacontenttype":"` + strings.Repeat("x", 257) + `"`), `invalid datacontenttype: 257 bytes`},

		{"embedding not base64", with(`"tokaembedding":"?"`), `invalid tokaembedding: not base64 with padding`},
		{"embedding of 5 bytes", with(`"tokaembedding":"AAAAAAA="`), `invalid tokaembedding: 5 bytes; 32-bit floats make a multiple of 4`},
		{"embedding empty", with(`"tokaembedding":""`), `invalid tokaembedding: it is empty; leave it out`},
		{"embedding NaN", with(`"tokaembedding":"AAAAAAAAwH8="`), `invalid tokaembedding: number 2 is not finite`},
		{"embedding an array", with(`"tokaembedding":[1,2]`), `invalid tokaembedding: an array; a string is wanted`},
		{"65 parents", with(`"tokaparents":"` + tokens(65) + `"`), `invalid tokaparents: more than 64 parents`},
		{"parents an array", with(`"tokaparents":["a"]`), `invalid tokaparents: an array; a string is wanted`},
		{"parents with a tab", with(`"tokaparents":"a\tb"`), `invalid tokaparents: "a\tb" holds a control character`},
		{"parent of 10 kB", with(`"tokaparents":"` + strings.Repeat("x", 10_000) + `"`), `invalid tokaparents: 10000 bytes`},
		{"hash a number", with(`"tokahash":1`), `invalid tokahash: a number; a string is wanted`},

		{"name in upper case", with(`"Foo":"1"`), `invalid line: attribute "Foo": names are made of lower-case letters and digits`},
		{"known name in upper case", with(`"ID":"1"`), `attribute "ID": names are made of`},
		{"name with a line break", with(`"a\nb":{}`), `attribute "a\nb": names are made of`},
		{"name empty", with(`"":"1"`), `attribute "": names are made of`},
		{"name long", with(`"` + strings.Repeat("x", 65) + `":"1"`), `invalid extensions: key`},
		{"name of the system", with(`"tokabehaviour":"x/1"`), `invalid tokabehaviour: attributes that begin with toka belong to the system`},
		{"name of ours", with(`"outsideid":"x"`), `invalid outsideid: the id is stored under this name; use another`},
		{"extension an object", with(`"foo":{"a":1}`), `invalid foo: an object; a string is wanted`},
		{"extension an array", with(`"foo":[]`), `invalid foo: an array; a string is wanted`},
		{"extension null", with(`"foo":null`), `invalid foo: null; leave it out`},
		{"extension with a surrogate half", with(`"foo":"\udfff\ud800"`), `invalid foo: half of a surrogate pair stands alone`},
		{"extensions large", with(`"foo":"` + strings.Repeat("x", 4096) + `"`), `invalid extensions: 4110 bytes; the limit is 4096`},
		{"extensions very large", with(`"foo":"` + strings.Repeat("x", 9000) + `"`), `invalid extensions: over twice the limit of 4096 bytes at "foo"`},
		{"subject empty", with(`"subject":""`), `invalid subject: it is empty; leave it out`},
		{"subject a number", with(`"subject":1`), `invalid subject: a number; a string is wanted`},
		{"correlationid null", with(`"correlationid":null`), `invalid correlationid: null; leave it out`},
		{"correlationid long", with(`"correlationid":"` + strings.Repeat("x", 257) + `"`), `invalid correlationid: 257 bytes`},
		{"traceparent with a line break", with(`"traceparent":"a\nb"`), `invalid traceparent: "a\nb" holds a control character`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, err := cloudevents.Parse([]byte(tt.line))
			if err == nil {
				t.Fatalf("accepted: %+v", in)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant …%s…", err, tt.want)
			}
			if !errors.Is(err, events.ErrInvalid) {
				t.Errorf("%v does not wrap ErrInvalid", err)
			}
			if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 300 {
				t.Errorf("not one short line: %q", err)
			}
			if !reflect.ValueOf(in).IsZero() {
				t.Errorf("an error came with %+v", in)
			}
		})
	}
	if _, err := cloudevents.Parse(make([]byte, cloudevents.MaxLine+1)); !errors.Is(err, cloudevents.ErrLineTooLong) {
		t.Errorf("a line too long: %v", err)
	}
}

func TestAccepted(t *testing.T) {
	const uuid = "018f6d2e-7c3a-7000-8000-000000000001"
	in, err := cloudevents.Parse([]byte(" {\t\"source\" : \"../agents\\/\\u00e9\\ud83d\\ude00\", \"\\u0069d\":\"x 1\", \"type\":\"order.placed\", \"specversion\":\"1.0\"," +
		`"time":"2012-11-24t03:14:12.123456789-08:00","data":{"a": 1, "a": 2},"subject":"s","dataschema":"http://x/y",` +
		`"correlationid":"c","traceparent":"00-ab","tracestate":"k=v","causationid":"cc","sequence":"00000000000000000007",` +
		`"count":-1.50e3,"flag":true,"empty":"","tokaparents":" p1  ` + uuid + ` p1 p2 ","tokaembedding":"AACAPwAAAMA="} ` + "\r"))
	if err != nil {
		t.Fatal(err)
	}
	want := cloudevents.Incoming{
		Source: "../agents/é😀", OutsideID: "x 1",
		Parents: []string{"p1", uuid, "p2"},
		Draft: events.Draft{
			ID:     events.IngestedID("../agents/é😀", "x 1"),
			Stream: "../agents/é😀", Kind: "order.placed", SchemaVersion: 1,
			Time:        time.Date(2012, 11, 24, 11, 14, 12, 123456789, time.UTC),
			ContentType: "application/json", Payload: []byte(`{"a": 1, "a": 2}`),
			Correlation: "c", Trace: "00-ab",
			Extensions: map[string]string{
				"outsideid": "x 1", "subject": "s", "dataschema": "http://x/y", "tracestate": "k=v", "causationid": "cc",
				"sequence": "00000000000000000007", "count": "-1.50e3", "flag": "true", "empty": "",
			},
			Embedding: []float32{1, -2},
		},
	}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
}

func TestSmallestLine(t *testing.T) {
	in, err := cloudevents.Parse([]byte(with("")))
	if err != nil {
		t.Fatal(err)
	}
	d := in.Draft
	if !d.Time.IsZero() || d.ContentType != "" || d.Payload != nil || in.Parents != nil || d.Embedding != nil || len(d.Extensions) != 1 {
		t.Errorf("%+v", in)
	}
}

func TestPayloadIsExact(t *testing.T) {
	deep := strings.Repeat("[", cloudevents.MaxDepth) + strings.Repeat("]", cloudevents.MaxDepth)
	largest := `"` + strings.Repeat("x", events.MaxPayload-2) + `"`
	tests := []struct{ name, members, contentType, payload string }{
		{"object", `"data": {"b" : 1.0, "a":"\u00e9\/"} `, "application/json", `{"b" : 1.0, "a":"\u00e9\/"}`},
		{"large number", `"data":123456789012345678901234567890e400`, "application/json", `123456789012345678901234567890e400`},
		{"negative zero", `"data":-0`, "application/json", `-0`},
		{"null", `"data":null`, "application/json", `null`},
		{"false", `"data":false`, "application/json", `false`},
		{"surrogate half in JSON", `"data":{"a":"\ud800"}`, "application/json", `{"a":"\ud800"}`},
		{"escaped text of JSON", `"data":"a\"\u00e9"`, "application/json", `"a\"\u00e9"`},
		{"depth", `"data":` + deep, "application/json", deep},
		{"largest", `"data":` + largest, "application/json", largest},
		{"suffix", `"data":"a","datacontenttype":"application/vnd.x+json; charset=utf-8"`, "application/vnd.x+json; charset=utf-8", `"a"`},
		{"upper case", `"data":"a","datacontenttype":"Application/JSON"`, "Application/JSON", `"a"`},
		{"text", `"data":"a\n\"\u00e9\ud83d\ude00\\\/\b\f\r\t","datacontenttype":"text/plain"`, "text/plain", "a\n\"é😀\\/\b\f\r\t"},
		{"type before data", `"datacontenttype":"text/xml","data":"<a/>"`, "text/xml", "<a/>"},
		{"empty text", `"datacontenttype":"text/plain","data":""`, "text/plain", ""},
		{"object under another type", `"datacontenttype":"text/plain","data":{"a":1}`, "text/plain", `{"a":1}`},
		{"JSON only in the parameters", `"datacontenttype":"text/plain; a=b/json","data":"a"`, "text/plain; a=b/json", "a"},
		{"base64", `"data_base64":"AP8="`, "", "\x00\xff"},
		{"base64 with type", `"data_base64":"AP8=","datacontenttype":"image/png"`, "image/png", "\x00\xff"},
		{"base64 of JSON", `"data_base64":"MQ==","datacontenttype":"application/json"`, "application/json", "1"},
		{"empty base64", `"data_base64":""`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, err := cloudevents.Parse([]byte(with(tt.members)))
			if err != nil {
				t.Fatal(err)
			}
			if string(in.Draft.Payload) != tt.payload || in.Draft.ContentType != tt.contentType {
				t.Errorf("got %q as %q, want %q as %q", in.Draft.Payload, in.Draft.ContentType, tt.payload, tt.contentType)
			}
		})
	}
}

func TestParentsAtTheLimit(t *testing.T) {
	var tokens []string
	for i := range events.MaxParents {
		tokens = append(tokens, fmt.Sprintf("p%d", i))
	}
	// Each twice: they are a set.
	in, err := cloudevents.Parse([]byte(with(`"tokaparents":"` + strings.Join(append(tokens, tokens...), " ") + `"`)))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in.Parents, tokens) {
		t.Errorf("got %q", in.Parents)
	}
}

func TestEmbedding(t *testing.T) {
	raw := []byte{0, 0, 0x80, 0x3f, 0xff, 0xff, 0x7f, 0x7f}
	in, err := cloudevents.Parse([]byte(with(`"tokaembedding":"` + base64.StdEncoding.EncodeToString(raw) + `"`)))
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{1, math.MaxFloat32}; !reflect.DeepEqual(in.Draft.Embedding, want) {
		t.Errorf("got %v, want %v", in.Draft.Embedding, want)
	}
}

func TestDraftOwnsItsMemory(t *testing.T) {
	line := []byte(with(`"data":{"a":"b"},"foo":"bar","tokaparents":"p q","correlationid":"c","traceparent":"t"`))
	a, err := cloudevents.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cloudevents.Parse(bytes.Clone(line))
	if err != nil {
		t.Fatal(err)
	}
	for i := range line {
		line[i] = '#'
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the draft changed with the line: %+v", a)
	}
}
