"""Check digits and number plans: what tells a payment card from an order number."""

from collections.abc import Callable
from string import ascii_uppercase

# Length of an IBAN by country: SWIFT's IBAN registry (ISO 13616).
IBAN_LENGTHS = {
    name[:2]: int(name[2:])
    for name in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29"
        " ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28"
        " LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25"
        " QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    ).split()
}

# Issuer ranges (ISO/IEC 7812) as first and last prefix, and the lengths that are issued in them.
_CARD_ISSUER_RANGES: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)),
    (2221, 2720, (16,)),  # Mastercard
    (34, 34, (15,)),
    (37, 37, (15,)),  # American Express
    (300, 305, (14, 16)),
    (36, 36, (14, 16)),
    (38, 39, (14, 16)),  # Diners Club
    (6011, 6011, (16, 19)),
    (644, 659, (16, 19)),  # Discover
    (3528, 3589, (16, 19)),
    (1800, 1800, (15,)),
    (2131, 2131, (15,)),  # JCB
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (2200, 2204, (16,)),  # Mir
    # Maestro
    *(
        (first, first, tuple(range(12, 20)))
        for first in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763)
    ),
)


def is_valid_luhn(digits: str) -> bool:
    """The check digit of cards and of some national numbers (ISO/IEC 7812-1, annex B)."""
    doubled = (int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def has_card_issuer_prefix(digits: str) -> bool:
    """Whether a card network issues numbers of this prefix and length."""
    return any(
        len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last
        for first, last, lengths in _CARD_ISSUER_RANGES
    )


def is_valid_iban(text: str) -> bool:
    """Length by country and the check digits (ISO 7064, mod 97-10); `text` in capitals without spaces."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def is_us_ssn(digits: str) -> bool:
    """Area, group and serial that the Social Security Administration gives out (since 2011 without regions)."""
    area, group, serial = int(digits[:3]), int(digits[3:5]), int(digits[5:])
    return area not in {0, 666} and area < 900 and group > 0 and serial > 0


def is_spanish_id(text: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def is_french_insee(text: str) -> bool:
    """Numéro de sécurité sociale: 97 less the number modulo 97; Corsica counts as 19 and 18."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


def is_italian_tax_code(text: str) -> bool:
    """Codice fiscale: the last letter from the values of odd and even places (D.M. 23 December 1976)."""
    odd = (
        1,
        0,
        5,
        7,
        9,
        13,
        15,
        17,
        19,
        21,
        2,
        4,
        18,
        20,
        11,
        3,
        6,
        8,
        12,
        14,
        16,
        10,
        22,
        25,
        24,
        23,
    )
    values = [int(sign, 36) - (10 if sign.isalpha() else 0) for sign in text[:15]]
    total = sum(value if place % 2 else odd[value] for place, value in enumerate(values))
    return ascii_uppercase[total % 26] == text[15]


def is_brazilian_cpf(digits: str) -> bool:
    """Two check digits, each modulo 11."""

    def check(given: str) -> int:
        rest = (
            sum(
                int(digit) * weight
                for digit, weight in zip(given, range(len(given) + 1, 1, -1), strict=True)
            )
            % 11
        )
        return 0 if rest < 2 else 11 - rest

    return (
        len(set(digits)) > 1
        and check(digits[:9]) == int(digits[9])
        and check(digits[:10]) == int(digits[10])
    )


def is_german_tax_id(digits: str) -> bool:
    """Steueridentifikationsnummer: ISO 7064, mod 11, 10."""
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def _build_weighted_check(weights: tuple[int, ...], modulus: int) -> Callable[[str], bool]:
    def check(digits: str) -> bool:
        return (
            sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
            % modulus
            == 0
        )

    return check


is_polish_pesel = _build_weighted_check((1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10)
is_dutch_bsn = _build_weighted_check((9, 8, 7, 6, 5, 4, 3, 2, -1), 11)
is_british_nhs_number = _build_weighted_check((10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11)
