package static

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// split calls word for every word and every punctuation mark of a text, in
// order: lower case, without accents. CJK characters are words of their own.
// The bytes are valid during the call.
func split(text string, word func(w []byte, mark bool)) {
	var buf [256]byte
	w := buf[:0]
	end := func() {
		if len(w) > 0 {
			word(w, false)
			w = w[:0]
		}
	}
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			i++
			switch {
			case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
				w = append(w, c)
			case 'A' <= c && c <= 'Z':
				w = append(w, c+'a'-'A')
			case c == ' ' || '\t' <= c && c <= '\r':
				end()
			case c < ' ' || c == 0x7f:
				// A control character: as if it were not there.
			default: // all else in ASCII is punctuation
				end()
				word(append(w, c), true)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError || unicode.Is(unicode.C, r):
		case unicode.IsSpace(r):
			end()
		default:
			// The pieces that a character decomposes into may be of other
			// kinds than the character.
			var parts [64]byte
			for _, r := range string(norm.NFD.AppendString(parts[:0], text[i:i+size])) {
				switch {
				case unicode.Is(unicode.Mn, r):
				case unicode.IsPunct(r) || ideograph(r):
					end()
					word(utf8.AppendRune(w, r), !ideograph(r))
				case unicode.IsSpace(r):
					end()
				default:
					w = utf8.AppendRune(w, unicode.ToLower(r))
				}
			}
		}
		i += size
	}
	end()
}

// ideograph reports whether r is written without spaces between words. Kana and
// Hangul are not among them in the vocabulary.
func ideograph(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0xf900 && r <= 0xfaff ||
		r >= 0x20000 && r <= 0x2a6df || r >= 0x2a700 && r <= 0x2ceaf || r >= 0x2f800 && r <= 0x2fa1f
}
