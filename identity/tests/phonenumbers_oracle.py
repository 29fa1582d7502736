"""What PyPI `phonenumbers` makes of the numbers on standard input, one a line; prints version, then one line each.

Takes the same preparatory steps as the house (digits of all scripts, invisible characters, `00` for `+`), written anew from
their description. A number behind `+` is parsed without a default region, so that the library cannot fall back to ignoring
the `+` when the country code does not exist.
"""

import re
import sys
import unicodedata

import phonenumbers
from phonenumbers import PhoneNumberType as T

KINDS = {
    T.FIXED_LINE: "fixed-line",
    T.MOBILE: "mobile",
    T.FIXED_LINE_OR_MOBILE: "fixed-line or mobile",
    T.TOLL_FREE: "toll-free",
    T.PREMIUM_RATE: "premium-rate",
    T.SHARED_COST: "shared-cost",
    T.VOIP: "internet telephony",
    T.PERSONAL_NUMBER: "personal",
    T.PAGER: "pager",
    T.UAN: "company",
    T.VOICEMAIL: "voicemail",
}
LEADING_ZEROS = re.compile(r"^([^0-9+]*)0([^0-9+]*)0")


def prepared(text):
    out = []
    for c in text:
        category = unicodedata.category(c)
        if category in ("Cc", "Cf"):
            continue
        out.append(str(unicodedata.digit(c)) if category == "Nd" else c)
    return LEADING_ZEROS.sub("+", "".join(out))


def canonical(text, check):
    text = prepared(text)
    try:
        number = phonenumbers.parse(text, None if text.lstrip(" (").startswith("+") else "KZ")
    except phonenumbers.NumberParseException:
        return "-"
    kind = phonenumbers.number_type(number)
    if check:
        valid = phonenumbers.is_valid_number(number)
        assert valid == (kind != T.UNKNOWN), "a number is valid if and only if it has a kind"
        if valid:
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            national = phonenumbers.national_significant_number(number)
            assert e164 == f"+{number.country_code}{national}", "E.164 is code and national number"
    if kind == T.UNKNOWN:
        return "-"
    return f"+{number.country_code}{phonenumbers.national_significant_number(number)}\t{KINDS[kind]}"


print(phonenumbers.__version__)
for position, line in enumerate(sys.stdin.buffer.read().decode().split("\n")[:-1]):
    print(canonical(line, position % 16 == 0))
