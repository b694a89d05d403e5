"""The texts of the archive; {p…} people, {d…} later and {b…} earlier dates, and {a…} amounts are left open."""

from dataclasses import dataclass

HARBOUR = "Harbour Cold Storage Ltd"
GIVEN = {
    "Ms": ("Ada", "Clara", "Edith", "Greta", "Irene", "Karin", "Martha", "Olive", "Rosa", "Vera"),
    "Mr": (
        "Bruno",
        "David",
        "Frank",
        "Henry",
        "Jonas",
        "Louis",
        "Nils",
        "Peter",
        "Simon",
        "Walter",
    ),
}
FAMILY = (
    *("Abbott", "Becker", "Carlsen", "Dawson", "Eriksen", "Fischer", "Gardner", "Hartley"),
    *("Iversen", "Jensen", "Keller", "Lambert", "Morton", "Novak", "Olsen", "Prescott"),
    *("Russell", "Sanders", "Thornton", "Winter"),
)


@dataclass(frozen=True, slots=True)
class Draft:
    """One page as it is written before names, dates and amounts are chosen."""

    kind: str
    companies: tuple[str, ...]
    """Who wrote it, and to whom."""
    subject: str
    body: tuple[str, ...]
    """Paragraphs; in an invoice `description | amount` is a line of its table."""
    scanned: bool = False


def letter(sender: str, to: str, subject: str, *body: str, scanned: bool = False) -> Draft:
    """Write to somebody."""
    return Draft("letter", (sender, to), subject, body, scanned)


def invoice(sender: str, to: str, subject: str, *body: str, scanned: bool = False) -> Draft:
    """Ask for money."""
    return Draft("invoice", (sender, to), subject, body, scanned)


def minutes(of: str, subject: str, *body: str, scanned: bool = False) -> Draft:
    """Write down what was decided."""
    return Draft("minutes", (of,), subject, body, scanned)


DRAFTS = (
    letter(
        "Northgate Estates Ltd",
        HARBOUR,
        "Renewal of the lease of hall 4",
        "Your lease of storage hall 4 ends on {d1}. We should be glad to keep you as a tenant and offer a renewal of five years at a monthly rent of {a1}, payable in advance.",
        "The loading ramp will be repaved at our expense. Our surveyor, {p3}, would like to measure the yard in the first week of next month.",
        "Please let us know whether you accept before {d2}; after that day we shall have to offer the hall to others.",
    ),
    invoice(
        "Thatcher Roofing Ltd",
        HARBOUR,
        "Repair of the roof over the packing room",
        "Scaffolding, two weeks | {a1}",
        "Slates and copper nails | {a2}",
        "Labour of three roofers | {a3}",
        "The work was inspected by {p3} and accepted without defects on {b1}.",
    ),
    letter(
        HARBOUR,
        "Meridian Packaging GmbH",
        "Late delivery of stretch film",
        "The forty rolls of stretch film that we ordered reached us nine days late. Our packers had to tie the goods by hand, and two lorries left half empty.",
        "We ask you to bear the cost of the additional shift, which our bookkeeper {p3} puts at {a1}. Your driver confirmed the delay in writing on {b1}.",
        "Should such a delay happen again, we shall look for another source.",
        scanned=True,
    ),
    minutes(
        HARBOUR,
        "Safety committee",
        "{p3} reported that the emergency exit beside the battery chargers had been blocked by empty crates on three mornings. The foremen will check it at the start of every shift.",
        "The fire drill is held on {d1}. Visitors take part in it like everybody else.",
        "The committee approved {a1} for new helmets and for reflective vests in small sizes.",
    ),
    invoice(
        "Linden Lift Trucks GmbH",
        HARBOUR,
        "Service of four forklift trucks",
        "Hydraulic oil and filters | {a1}",
        "Replacement of worn chains | {a2}",
        "Travel and labour | {a3}",
        "One truck must not lift more than a ton until its mast is straightened. {p3} signed the report on {b1}.",
        scanned=True,
    ),
    letter(
        HARBOUR,
        "Iversen Shipping AS",
        "Reference for a former employee",
        "{p3} drove a reach truck for us until {b1}. In six years there was not one accident, and new colleagues learned the trade from a patient teacher.",
        "We regret the departure, whose only reason is a move to another town, and recommend this driver without reservation.",
        "The last monthly wage was {a1}.",
    ),
    minutes(
        HARBOUR,
        "Works council",
        "The night shift shall begin half an hour earlier in winter, so that the last bus can be caught. {p3} will ask the carriers whether that suits them.",
        "Holidays for the summer are to be entered in the calendar by {d1}. Parents of schoolchildren choose first.",
        "The council asks for a subsidy of {a1} a year to the canteen, whose prices have risen twice.",
    ),
    invoice(
        "Coastal Fuels plc",
        HARBOUR,
        "Diesel and road tolls",
        "Diesel, 2,300 litres | {a1}",
        "Motorway tolls | {a2}",
        "Washing of six tankers | {a3}",
        "The fuel card of {p3} was blocked on {b1}, as you had asked by telephone.",
        scanned=True,
    ),
    letter(
        "Quayside Insurance plc",
        HARBOUR,
        "Change of your insurance cover",
        "From {d1} your policy covers damage by flood as well. The river authority has put your quay into zone two, and so the premium rises to {a1} a year.",
        "Goods that stand lower than half a metre above the floor remain excluded. Our engineer {p3} will advise you about shelves.",
        "If you do not agree you may terminate the contract until {d2}.",
    ),
    minutes(
        HARBOUR,
        "Board of directors",
        "The board discussed the purchase of the meadow behind the railway sidings. The parish wants {a1} for it, and will decide on {d1}.",
        "{p3} warned that the ground is soft and that piles would be needed under a building. An expert opinion shall be obtained first.",
        "The chair was authorised to negotiate up to a price of {a2}.",
    ),
    letter(
        "Old Customs House Hotel Ltd",
        HARBOUR,
        "Noise of the loading at night",
        "On eleven nights of the past month our guests were woken between two and four by the horns of reversing lorries and by shouting in your yard.",
        "Several of them left early; {p3}, who keeps our books, reckons the loss at {a1}. We do not wish to go to court between neighbours.",
        "Could the lorries wait behind the shed until six? We propose to meet on {d2} in our breakfast room.",
        scanned=True,
    ),
    invoice(
        "Prescott Partners LLP",
        HARBOUR,
        "Legal advice on a supply contract",
        "Review of the draft, seven hours | {a1}",
        "Meeting with the other party | {a2}",
        "Copies and couriers | {a3}",
        "The contract was signed by {p3} on {b1} and is kept in our safe.",
    ),
    minutes(
        HARBOUR,
        "Working group on energy",
        "{p3} presented three offers for panels on the south roof. They would yield a third of what the site consumes, and pay for themselves in eight years.",
        "The grid operator wants the application before {d1}. The group prefers the middle offer, of {a1}, because its inverters are made nearby.",
        "Charging points for the cars of the staff shall be planned together with it.",
        scanned=True,
    ),
    letter(
        HARBOUR,
        "Miller Refrigeration Ltd",
        "Damage in cold store 2",
        "In the night to {b1} a burst gasket of the ammonia compressor let cold store 2 warm up to plus nine degrees. The alarm reached nobody, because its telephone line had been cut off the day before.",
        "Eleven pallets of salmon had to be thrown away. {p3} of the veterinary office took samples in the morning and closed the store.",
        "We hold you liable for the goods, worth {a1}, and ask for your answer before {d2}.",
        scanned=True,
    ),
    invoice(
        "Tidal Software Inc",
        HARBOUR,
        "Licences of the planning software",
        "Twelve seats for a year | {a1}",
        "Training of two days | {a2}",
        "Transfer of the old orders | {a3}",
        "Support ends on {d2}. Your contact for questions of every kind is {p3}.",
    ),
    letter(
        "Tidewater Sailing Club Ltd",
        HARBOUR,
        "Thank you for supporting the regatta",
        "Ninety-three boats raced on {b1}, more than ever. Without your gift of {a1} the youth crews could not have come.",
        "{p3} and the whole jury send greetings, and the enclosed photograph of the winning cutter.",
        "We should be happy to paint your flag on the committee boat next summer.",
    ),
    minutes(
        HARBOUR,
        "Review of the outage of the computers",
        "The order system stood still for seven hours. A disk had filled up, since nobody had deleted the copies made each night, and the warning went to an address that no longer exists.",
        "{p3} will have the copies removed after thirty days, and tests on {d1} that they can be restored.",
        "A second server is bought for {a1}. The drivers get printed lists for such a case.",
        scanned=True,
    ),
    invoice(
        "Bright Cleaning GmbH",
        HARBOUR,
        "Cleaning of the offices and stairs",
        "Floors and windows, monthly | {a1}",
        "Carpets of the second floor | {a2}",
        "Materials | {a3}",
        "From {d2} {p3} is responsible for your building.",
    ),
    letter(
        "Meridian Packaging GmbH",
        HARBOUR,
        "New bank account, and a warning",
        "Forged letters in our name ask customers to pay to an account abroad. Please ignore them. Our account changes on {d1} only as our own director {p3} has told you in person.",
        "One customer has lost {a1} already. The police advise to call a known number before any payment to a new account.",
        "We apologise for the trouble.",
        scanned=True,
    ),
    minutes(
        HARBOUR,
        "Annual general meeting",
        "The accounts were approved unanimously. The profit of {a1} is carried forward, apart from a dividend that is paid on {d1}.",
        "{p3} was elected auditor for the coming year. The oldest shareholder thanked the staff for a hard winter.",
        "The next meeting takes place on {d2} in the town hall.",
    ),
)
