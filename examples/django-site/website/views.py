import os

from django.shortcuts import render

from website.models import Visit


def index(request):
    Visit.objects.create()
    context = {"visits": Visit.objects.count(), "release": os.environ.get("DAE_RELEASE", "-")}
    return render(request, "index.html", context)
