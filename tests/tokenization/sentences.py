"""Sentences that the built-in tokenizer was not trained on, and how many bytes a token of them has at least."""

from typing import Final

ENGLISH: Final = (
    "The library was quiet in the afternoon, apart from the rain against the windows. Emma had been sitting at the same"
    " table for three hours, turning pages she no longer read. When her brother finally came in, shaking the water from"
    ' his coat, she closed the book and smiled. "You\'re late," she said, "but I saved you a piece of the cake."\n\n'
    "Scientists have found that people remember a story much better when they are told it by someone they trust. In one"
    " experiment, two groups heard the same report about a small town; a week later, those who had met the speaker"
    " before knew twice as many of its details. It's not clear why. Perhaps we listen more carefully, or perhaps we"
    " just want to.\n\n"
    "To restart the server, open a terminal, change into the project's folder, and run the command below. It should"
    " take less than a minute. If it doesn't, look at the last lines of the log: they usually tell what is missing."
)

_PYTHON: Final = (
    'def read(path):\n    """Read a file."""\n    with open(path, encoding="utf-8") as stream:\n'
    '        for line in stream:\n            if line.startswith("#"):\n                continue\n'
    "            yield line.rstrip()\n"
)

SENTENCES: Final = {
    "German": (
        2.0,
        "Der Zug nach München hatte wieder Verspätung, deshalb saß Jonas auf dem Bahnsteig und las die Zeitung.",
    ),
    "French": (
        2.2,
        "Le train était encore en retard, et Claire s'est assise sur un banc pour lire le journal de la veille.",
    ),
    "Spanish": (
        2.1,
        "El tren volvió a llegar tarde, así que Lucía se sentó en un banco a leer el periódico del día anterior.",
    ),
    "Polish": (1.7, "Pociąg znowu się spóźnił, więc Ania usiadła na ławce i czytała wczorajszą gazetę."),
    "Turkish": (1.8, "Tren yine gecikti, bu yüzden Elif bir banka oturup dünkü gazeteyi okudu."),
    "Vietnamese": (1.6, "Chuyến tàu lại đến muộn, nên Lan ngồi xuống ghế đọc tờ báo hôm qua."),
    "Russian": (2.6, "Поезд опять опаздывал, поэтому Ольга села на скамейку и стала читать вчерашнюю газету."),
    "Greek": (2.1, "Το τρένο είχε πάλι καθυστέρηση, οπότε η Ελένη κάθισε σε ένα παγκάκι και διάβασε εφημερίδα."),
    "Arabic": (2.3, "تأخر القطار مرة أخرى، فجلست ليلى على المقعد تقرأ جريدة الأمس."),
    "Hebrew": (2.0, "הרכבת שוב איחרה, ולכן נועה התיישבה על ספסל וקראה את העיתון של אתמול."),
    "Hindi": (2.9, "ट्रेन फिर देर से आई, इसलिए सीमा बेंच पर बैठकर कल का अख़बार पढ़ने लगी।"),
    "Bengali": (2.9, "ট্রেন আবার দেরি করল, তাই মিতা বেঞ্চে বসে গতকালের কাগজ পড়তে লাগল।"),
    "Tamil": (3.5, "ரயில் மீண்டும் தாமதமாக வந்தது, எனவே மீனா பெஞ்சில் உட்கார்ந்து செய்தித்தாளைப் படித்தாள்."),
    "Thai": (2.9, "รถไฟมาสายอีกแล้ว มาลีจึงนั่งลงบนม้านั่งและอ่านหนังสือพิมพ์ของเมื่อวาน"),
    "Georgian": (3.0, "მატარებელმა ისევ დაიგვიანა, ამიტომ ნინო სკამზე დაჯდა და გუშინდელი გაზეთი წაიკითხა."),
    "Armenian": (2.2, "Գնացքը դարձյալ ուշացավ, ուստի Անին նստեց նստարանին և կարդաց երեկվա թերթը։"),
    "Amharic": (1.7, "ባቡሩ እንደገና ዘገየ፣ ስለዚህ ሰውየው ወንበር ላይ ተቀምጦ የትናንቱን ጋዜጣ አነበበ።"),
    "Chinese": (1.9, "火车又晚点了，小王坐在长椅上看昨天的报纸。一位老太太问他旁边的座位有没有人。"),
    "Japanese": (2.4, "電車がまた遅れたので、花子はベンチに座って昨日の新聞を読んでいた。"),
    "Korean": (1.9, "기차가 또 늦어서 지수는 벤치에 앉아 어제 신문을 읽었다."),
    "Python": (3.0, _PYTHON),
    "JSON": (1.7, '{"id": 17, "name": "Ada", "tags": ["x", "y"], "address": {"city": "Boston"}, "active": true}'),
}
"""Languages and formats, each with the least number of bytes for a token, and a text."""
